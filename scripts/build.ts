/**
 * Builds the daemon and the CLI into `packages/skein/dist` (one bundle with lazily loaded parts; koffi stays outside,
 * as it brings a native library), and the two packages that stand alone into their `dist` as ESM with types. BPF
 * programs are compiled beside their source, where a run of the source tree finds them, and copied.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, rmSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { build } from 'esbuild';

const root = resolve(import.meta.dirname, '..');
const programs = ['overlay/fast-path/fast-path.bpf', 'balancer/connect-time/connect-time.bpf'].map((path) =>
  join(root, 'packages/skein/src', path),
);

/** The kernel's headers are for one machine type, under Debian's name of it. */
const headers = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' }[process.arch as string] ?? process.arch;

/** Characters of a line of the bundle: a stack without source maps still leads to a place that can be read. */
const LINE_LENGTH = 120;

function compilePrograms(): void {
  // Version 3 of the instructions (Linux 5.12): atomic additions that say what was there.
  const options = ['-target', 'bpf', '-mcpu=v3', '-O2', '-Wall', '-Wextra', '-Werror', `-I/usr/include/${headers}`];
  for (const program of programs) {
    execFileSync('clang', [...options, '-c', `${program}.c`, '-o', `${program}.o`], { stdio: 'inherit' });
  }
}

async function bundleSkein(): Promise<void> {
  const outdir = join(root, 'packages/skein/dist');
  rmSync(outdir, { recursive: true, force: true });
  await build({
    entryPoints: [join(root, 'packages/skein/src/main.ts')],
    outdir,
    bundle: true,
    splitting: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    conditions: ['source'],
    external: ['koffi'],
    sourcemap: true,
    // The engine keeps the text in memory, at two bytes a character if one comment has a character beyond ASCII.
    minifyWhitespace: true,
    lineLimit: LINE_LENGTH,
    legalComments: 'linked',
    logLevel: 'warning',
    define: {
      'process.env.SKEIN_BUILD_COMMIT': JSON.stringify(commit()),
      'process.env.SKEIN_BUILD_TIME': JSON.stringify(new Date().toISOString()),
    },
    // Some dependencies are CommonJS and call require for Node's own modules.
    banner: {
      js: "import { createRequire as skeinRequire } from 'node:module'; const require = skeinRequire(import.meta.url);",
    },
  });
  for (const program of programs) copyFileSync(`${program}.o`, join(outdir, `${basename(program)}.o`));
}

/** The checkout's commit; '' outside a checkout. */
function commit(): string {
  const { status, stdout } = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' });
  return status === 0 ? stdout.trim() : '';
}

function emitPackage(name: string): void {
  const directory = join(root, 'packages', name);
  rmSync(join(directory, 'dist'), { recursive: true, force: true });
  execFileSync(join(root, 'node_modules/.bin/tsc'), ['-p', join(directory, 'tsconfig.build.json')], {
    stdio: 'inherit',
  });
  const generated = 'networkdb/gen';
  if (existsSync(join(directory, 'src', generated))) {
    cpSync(join(directory, 'src', generated), join(directory, 'dist', generated), { recursive: true });
  }
}

compilePrograms();
await bundleSkein();
if (!process.argv.includes('--bundle-only')) {
  emitPackage('netlink');
  emitPackage('gossip');
}
