/** Plays docs/migration.md: each command as it stands there, until it prints what stands there. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { eventually } from './support/cluster.ts';
import { MixedSwarm } from './support/mixed.ts';

const guide = join(import.meta.dirname, '../docs/migration.md');
const stepMs = 60_000;
/** What has an effect is run once; what looks is run until it sees what the guide shows. */
const looks = /^docker (node (ls|ps)|service ps|ps|exec) /;

interface Step {
  readonly host: string;
  readonly command: string;
  readonly shows: readonly string[];
}

test('a running two-node Docker swarm gains a Skein worker, and its tasks move', async (context) => {
  await using swarm = await MixedSwarm.start('interop-migration', ['dockerd', 'dockerd', 'skeind'], { members: 2 });
  const steps = readSteps();
  assert.ok(steps.length > 8);
  for (const { host, command, shows } of steps) {
    await context.test(`${host}# ${command}`, async () => {
      const words = command
        .replace('SWMTKN-1-…', swarm.token)
        .replaceAll('docker ', `${swarm.docker(host, []).join(' ')} `);
      const expected = shows.length === 0 ? /^$/ : pattern(shows);
      const run = (): string => swarm.cluster.must(host, ['sh', '-c', words]).trim();
      if (!looks.test(`${command} `)) {
        assert.match(run(), expected);
        return;
      }
      await eventually(
        command,
        () => {
          const printed = run();
          assert.match(printed, expected);
          return true;
        },
        stepMs,
      );
    });
  }
});

/** The commands of the guide's console blocks, each with the lines that follow it. */
function readSteps(): Step[] {
  const blocks = [...readFileSync(guide, 'utf8').matchAll(/```console\n([\s\S]*?)```/g)].map((match) => match[1] ?? '');
  return blocks.flatMap((block) =>
    block
      .split(/^(?=node\d# )/m)
      .filter(Boolean)
      .map((text) => {
        const [first = '', ...shows] = text.trimEnd().split('\n');
        const [, host = '', command = ''] = /^(node\d)# (.*)$/.exec(first) ?? [];
        return { host, command, shows };
      }),
  );
}

/** `…` is anything, also several lines when it stands alone; spaces and tabs are alike. */
function pattern(lines: readonly string[]): RegExp {
  const escaped = lines.map((line) =>
    line === '…'
      ? '[\\s\\S]*'
      : line
          .split('…')
          .map((part) =>
            part
              .trim()
              .replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
              .replace(/\s+/g, '\\s+'),
          )
          .join('\\s*.*'),
  );
  return new RegExp(`^\\s*${escaped.join('\\s*')}\\s*$`);
}
