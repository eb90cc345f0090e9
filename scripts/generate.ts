/**
 * Generates the protobuf modules under each room's `gen/` from the `.proto` files, with buf and protoc-gen-es.
 * `--check` generates into a temporary directory instead and fails when the committed files differ.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** Directory of `.proto` files → directory of the generated modules. */
const modules: ReadonlyArray<readonly [string, string]> = [
  ['packages/gossip/proto', 'packages/gossip/src/networkdb/gen'],
  ['packages/skein/proto/swarmkit', 'packages/skein/src/swarm/gen'],
  ['packages/skein/proto/containerd', 'packages/skein/src/container/gen'],
  ['packages/skein/proto/overlay', 'packages/skein/src/overlay/gen'],
  ['packages/skein/proto/discovery', 'packages/skein/src/discovery/gen'],
];

const root = resolve(import.meta.dirname, '..');
const bin = (name: string): string => join(root, 'node_modules/.bin', name);

function generate(input: string, output: string): void {
  const template = {
    version: 'v2',
    plugins: [{ local: bin('protoc-gen-es'), out: output, opt: ['target=js+dts', 'import_extension=js'] }],
  };
  execFileSync(bin('buf'), ['generate', input, '--template', JSON.stringify(template)], {
    cwd: root,
    stdio: 'inherit',
  });
}

const check = process.argv.includes('--check');
let stale = false;
for (const [input, output] of modules) {
  if (!existsSync(join(root, input)) || readdirSync(join(root, input)).length === 0) continue;
  if (!check) {
    rmSync(join(root, output), { recursive: true, force: true });
    generate(input, output);
    continue;
  }
  const temporary = mkdtempSync(join(tmpdir(), 'skein-generate-'));
  try {
    generate(input, temporary);
    execFileSync('diff', ['-r', temporary, join(root, output)], { stdio: 'inherit' });
  } catch (error) {
    stale = true;
    console.error(`${output} is not what ${input} generates: run "npm run generate" (${(error as Error).message})`);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}
process.exitCode = stale ? 1 : 0;
