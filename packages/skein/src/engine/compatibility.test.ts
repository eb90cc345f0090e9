/** docs/compatibility.md is walked: complete against the docker client that is installed, and true where it says `refused`. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { TestCluster } from '../swarm/manager/testing/cluster.ts';
import { FakeEngine, hasDockerCli, type Print } from './testing/fake-engine.ts';

const page = join(import.meta.dirname, '../../../../docs/compatibility.md');
const commands = ['service create', 'service update', 'network create', 'run'] as const;
type Command = (typeof commands)[number];

interface Row {
  readonly flag: string;
  readonly state: string;
  readonly note: string;
}

/** @returns the rows of a command's table. */
function rowsOf(command: Command): Row[] {
  const text = readFileSync(page, 'utf8');
  const section = text.split(`\n## docker ${command}\n`)[1]?.split('\n## ')[0];
  assert.ok(section, `no table of docker ${command}`);
  return [...section.matchAll(/^\| `--([a-z0-9-]+)` \| (\w+) \| (.*?) ?\|$/gm)].map((match) => ({
    flag: match[1] ?? '',
    state: match[2] ?? '',
    note: match[3] ?? '',
  }));
}

/** @returns the flags that the installed client has. */
function flagsOf(command: Command): string[] {
  const help = execFileSync('docker', [...command.split(' '), '--help'], { encoding: 'utf8' });
  return [...help.matchAll(/^ {2}(?:-\w, | {4})--([a-z0-9-]+)/gm)].map((match) => match[1] ?? '');
}

/** What each refused flag is tried with. */
const samples: Readonly<Record<string, string>> = {
  'blkio-weight': '100',
  'blkio-weight-device': '/dev/null:100',
  'cgroup-parent': '/x',
  'config-from': 'other',
  'cpu-count': '1',
  'cpu-percent': '50',
  'cpu-rt-period': '1000',
  'cpu-rt-runtime': '1000',
  'credential-spec': 'file://x',
  'device-read-bps': '/dev/null:1mb',
  'device-read-iops': '/dev/null:10',
  'device-write-bps': '/dev/null:1mb',
  'device-write-iops': '/dev/null:10',
  gpus: 'all',
  'io-maxbandwidth': '1m',
  'io-maxiops': '10',
  ip6: '2001:db8::5',
  link: 'other',
  'link-local-ip': '169.254.1.1',
  'memory-swappiness': '10',
  'storage-opt': 'size=1G',
  'volume-driver': 'nfs',
  'volumes-from': 'other',
};
/** Flags of networks have an effect only with one. */
const companions: Readonly<Record<string, readonly string[]>> = {
  ip6: ['--network=some'],
  'link-local-ip': ['--network=some'],
};
/** Flags without a value. */
const switches = ['config-only', 'ipv6', 'oom-kill-disable'];
/** What the fakes say when a request got through all checks. */
const through = /the fake has no plain containers/;

/** The engine's, or the client's own for what only Windows has. */
const sentence = /Error response from daemon: .*\w+ \w+ \w+|only supported on a Docker daemon running on windows/;

async function attempt(engine: FakeEngine, command: Command, words: readonly string[]): Promise<Print> {
  const ends: Readonly<Record<Command, readonly string[]>> = {
    'service create': ['--detach', '--no-resolve-image', 'ubuntu'],
    'service update': ['--detach', '--no-resolve-image', 'there'],
    'network create': ['--driver=overlay', 'made'],
    run: ['--detach', 'ubuntu'],
  };
  return await engine.docker(...command.split(' '), ...words, ...ends[command]);
}

describe('docs/compatibility.md', { skip: !hasDockerCli && 'no docker CLI here' }, () => {
  for (const command of commands) {
    it(`has every flag of docker ${command} once, with a state and what differs`, () => {
      const rows = rowsOf(command);
      const listed = rows.map(({ flag }) => flag);
      assert.equal(new Set(listed).size, listed.length, 'a flag stands twice');
      const missing = flagsOf(command).filter((flag) => !listed.includes(flag));
      assert.deepEqual(missing, [], 'flags that the page does not tell of');
      for (const { flag, state, note } of rows) {
        assert.ok(['works', 'differs', 'refused'].includes(state), `--${flag}: ${state}`);
        if (state === 'differs') assert.ok(note.length > 10, `--${flag} differs: how?`);
      }
    });
  }

  it('is true where it says refused: with the flag a sentence, without it the request gets through', async () => {
    await using cluster = new TestCluster();
    await using engine = await FakeEngine.start();
    await engine.request('POST', '/swarm/init', {});
    engine.swarm.control = () => cluster.control;
    const plain = await attempt(engine, 'service create', ['--name=there']);
    assert.equal(plain.exitCode, 0, plain.stderr);
    assert.equal((await attempt(engine, 'service update', [])).exitCode, 0);
    assert.match((await attempt(engine, 'run', [])).stderr, through);

    for (const command of commands)
      for (const { flag } of rowsOf(command).filter(({ state }) => state === 'refused')) {
        const sample = samples[flag];
        assert.ok(sample !== undefined || switches.includes(flag), `no sample for --${flag}`);
        const words = [...(companions[flag] ?? []), sample === undefined ? `--${flag}` : `--${flag}=${sample}`];
        const { stderr, exitCode } = await attempt(engine, command, words);
        const where = `docker ${command} ${words.join(' ')}: ${stderr}`;
        assert.notEqual(exitCode, 0, where);
        assert.doesNotMatch(stderr, through, where);
        assert.match(stderr, sentence, where);
      }
    assert.equal((await attempt(engine, 'network create', [])).exitCode, 0);
  });
});
