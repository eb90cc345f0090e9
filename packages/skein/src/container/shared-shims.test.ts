/** Containers that share a shim, under a containerd of their own whose runc can be made to hang. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { EventBus, silentLogger } from '../common/index.ts';
import { socketsOfShim } from './containerd/shim-socket.ts';
import { isListening } from './containerd/supervisor.ts';
import {
  type ContainerCreate,
  type ContainerRuntime,
  type ContainerRuntimeOptions,
  openContainerRuntime,
  stopManagedContainerd,
} from './index.ts';
import { containerOf, type Wishes } from './testing/containers.ts';
import { busyboxArchive, streamOf } from './testing/image.ts';

const image = 'busybox';
const forever = ['sh', '-c', 'trap "exit 3" TERM; while :; do sleep 0.1; done'];

describe('shared shims', { timeout: 180_000 }, () => {
  let directory: string;
  let runtime: ContainerRuntime;
  const path = process.env.PATH;
  const network = `skein-shims-test-${process.pid}`;

  const options = (): Pick<
    ContainerRuntimeOptions,
    'stateDirectory' | 'runDirectory' | 'containerd' | 'cgroupParent'
  > => ({
    stateDirectory: join(directory, 'containers'),
    runDirectory: join(directory, 'run'),
    containerd: { managed: paths() },
    cgroupParent: `/${basename(directory)}`,
  });

  const paths = (): { root: string; state: string; socket: string } => ({
    root: join(directory, 'containerd'),
    state: join(directory, 'run-containerd'),
    socket: join(directory, 'containerd.sock'),
  });

  const open = (): Promise<ContainerRuntime> =>
    openContainerRuntime({ ...options(), events: new EventBus(), logger: silentLogger() });

  const close = async (): Promise<void> => await runtime[Symbol.asyncDispose]();

  const specOf = (command = forever, wishes: Wishes = {}): ContainerCreate =>
    containerOf(command, { image, networkNamespace: `/run/netns/${network}`, ...wishes });

  async function create(...given: Parameters<typeof specOf>): Promise<string> {
    const spec = specOf(...given);
    await runtime.create(spec);
    return spec.id;
  }

  async function start(...given: Parameters<typeof specOf>): Promise<string> {
    const id = await create(...given);
    await runtime.start(id);
    return id;
  }

  /** @returns what a command in the container writes. */
  async function run(id: string, ...Cmd: string[]): Promise<string> {
    const attach = { AttachStdin: false, AttachStdout: true, AttachStderr: true, Tty: false, Privileged: false };
    const execId = await runtime.execs.create(id, { Cmd, Env: [], User: '', WorkingDir: '', ...attach });
    const { stdout } = await runtime.execs.start(execId);
    let text = '';
    for await (const chunk of stdout) text += String(chunk);
    return text;
  }

  const stateOf = async (id: string): Promise<string> => {
    const { State } = await runtime.inspect(id);
    return State.Status === 'exited' ? `exited ${State.ExitCode}` : State.Status;
  };

  const pidOf = async (id: string): Promise<number> => (await runtime.inspect(id)).State.Pid;

  function read(file: string): string {
    try {
      return readFileSync(file, 'utf8');
    } catch {
      return ''; // The process ended meanwhile.
    }
  }

  const processes = (): { pid: number; words: string[] }[] =>
    readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map((pid) => ({ pid: Number(pid), words: read(`/proc/${pid}/cmdline`).split('\0') }));

  /** Process IDs of our containerd's shims. */
  const shims = (): number[] =>
    processes()
      .filter(({ words }) => words[0]?.includes('containerd-shim') && words.includes(paths().socket))
      .map(({ pid }) => pid)
      .sort((a, b) => a - b);

  /** The shim is the parent of its containers' first processes. */
  const shimOf = async (id: string): Promise<number> =>
    Number(/\) \S (\d+)/.exec(read(`/proc/${await pidOf(id)}/stat`))?.[1]);

  /** @returns their sockets, which there are. */
  async function socketsOf(pids: number[]): Promise<string[]> {
    const paths = (await Promise.all(pids.map(socketsOfShim))).map((sockets) => [...new Set(sockets)]);
    assert.deepEqual(
      paths.map((sockets) => sockets.length),
      pids.map(() => 1),
    );
    return paths.flat();
  }

  /** Ends all containers. Of their shims, and of those whose sockets are given, nothing is left. */
  async function endsWithoutTrace(earlier: string[] = []): Promise<void> {
    const sockets = [...earlier, ...(await socketsOf(shims()))];
    await removeAll();
    await eventually('no shim is left', () => shims().length === 0);
    await eventually('no socket is left', () => !sockets.some(existsSync));
  }

  async function eventually(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    for (let tries = 0; tries < 200; tries++) {
      if (await holds()) return;
      await sleep(50);
    }
    assert.fail(`not within 10 s: ${what}`);
  }

  /** Makes runc wait in its next `verb` of a container. @returns lets it go on. */
  async function hold(
    verb: 'create' | 'exec',
    id: string,
  ): Promise<{ reached: () => Promise<void>; end(): Promise<void> }> {
    const file = join(directory, 'hold', `${verb}-${id}`);
    await writeFile(file, '');
    return {
      reached: () => eventually(`runc ${verb}`, () => existsSync(`${file}-reached`)),
      end: () => rm(file, { force: true }),
    };
  }

  /** A daemon of its own that starts containers, one after the other, and can be killed. */
  async function daemonThatStarts(
    specs: ContainerCreate[],
  ): Promise<{ started: Promise<unknown>; kill(): Promise<void> }> {
    const argument = JSON.stringify({ options: options(), specs });
    const script = join(import.meta.dirname, 'testing/daemon.ts');
    const daemon = spawn(process.execPath, ['--conditions=source', script, argument], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    return {
      started: once(daemon.stdout, 'data'),
      kill: async () => {
        daemon.kill('SIGKILL');
        await once(daemon, 'exit');
      },
    };
  }

  const containerdPid = (): number => Number(readFileSync(join(paths().state, 'containerd.pid'), 'utf8'));

  const removeAll = async (): Promise<void> => {
    for (const { Id } of await runtime.list()) await runtime.remove(Id, { force: true });
  };

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'skein-shims-'));
    await mkdir(join(directory, 'bin'));
    await mkdir(join(directory, 'hold'));
    const runc = execFileSync('sh', ['-c', 'command -v runc']).toString().trim();
    const script = [
      '#!/bin/sh',
      'for word in "$@"; do id=$word; done',
      'case " $* " in *" create "*) verb=create ;; *" exec "*) verb=exec ;; *) verb=other ;; esac',
      `file=${directory}/hold/$verb-$id`,
      'while [ -e "$file" ]; do : > "$file-reached"; sleep 0.05; done',
      `exec ${runc} "$@"`,
    ];
    await writeFile(join(directory, 'bin/runc'), `${script.join('\n')}\n`, { mode: 0o755 });
    process.env.PATH = `${directory}/bin:${path}`;
    execFileSync('ip', ['netns', 'add', network]);
    runtime = await open();
    await runtime.images.import(streamOf(await busyboxArchive()), { reference: image, changes: [], message: '' });
  });

  after(async () => {
    process.env.PATH = path;
    await removeAll();
    await close();
    await stopManagedContainerd(paths());
    execFileSync('ip', ['netns', 'del', network]);
    await rm(directory, { recursive: true, force: true });
  });

  test('containers share one and live each for itself; with the last it goes, socket and all', async () => {
    const [first, second, third] = [await start(), await start(), await start()];
    const throttled = await start(forever, { host: { NanoCpus: 5e8 } });
    const shim = await shimOf(first);
    assert.deepEqual([await shimOf(second), await shimOf(third)], [shim, shim]);
    assert.notEqual(await shimOf(throttled), shim, 'what is slow to enter has one for itself');
    const mounting = await start(forever, { host: { Mounts: [{ Type: 'bind', Source: '/tmp', Target: '/mnt' }] } });
    assert.notEqual(await shimOf(mounting), shim, 'so has what mounts of the host');
    assert.equal(shims().length, 3);

    await runtime.stop(first);
    assert.equal(await stateOf(first), 'exited 3');
    await runtime.remove(first, { force: false });
    assert.equal(await run(second, 'hostname'), `${second.slice(0, 12)}\n`);
    assert.equal(await run(third, 'hostname'), `${third.slice(0, 12)}\n`);
    await runtime.restart(second, { timeout: 0 });
    assert.equal(await shimOf(second), shim, 'it comes back to those that are left');
    await runtime.pause(second);
    assert.equal(await run(third, 'echo', 'runs'), 'runs\n');
    await runtime.unpause(second);
    const greedy = await start(['tail', '/dev/zero'], { host: { Memory: 16 << 20, MemorySwap: 16 << 20 } });
    await runtime.wait(greedy, 'not-running');
    await eventually('it is known what ended it', async () => (await runtime.inspect(greedy)).State.OOMKilled);
    assert.deepEqual([await stateOf(second), await stateOf(third)], ['running', 'running']);

    await endsWithoutTrace();
  });

  test('many that start at once share a few, and their starts do not mix up', async () => {
    const ids = await Promise.all(Array.from({ length: 24 }, () => start()));
    assert.deepEqual(
      await Promise.all(ids.map(stateOf)),
      ids.map(() => 'running'),
    );
    const parents = await Promise.all(ids.map(shimOf));
    const sizes = Object.values(Object.groupBy(parents, String)).map((group) => group?.length ?? 0);
    assert.ok(sizes.length <= 6 && Math.max(...sizes) <= 10, `sizes ${sizes.join()}`);
    await endsWithoutTrace();
  });

  test('the death of a shim ends its containers, as killed ones, and no others', async () => {
    const ids: string[] = [];
    while (ids.length < 10) ids.push(await start());
    const [first = '', second = ''] = ids;
    const [other, throttled] = [await start(), await start(forever, { host: { NanoCpus: 5e8 } })];
    const pids = await Promise.all(ids.map(pidOf));
    assert.equal(new Set(await Promise.all(ids.map(shimOf))).size, 1);
    const sockets = await socketsOf([await shimOf(first)]);
    process.kill(await shimOf(first), 'SIGKILL');
    await Promise.all(ids.map((id) => runtime.wait(id, 'not-running')));
    assert.deepEqual(
      await Promise.all(ids.map(stateOf)),
      ids.map(() => 'exited 255'),
    );
    await eventually('their processes are gone', () => pids.every((pid) => !existsSync(`/proc/${pid}`)));
    assert.equal(await run(other, 'echo', 'runs'), 'runs\n');
    assert.equal(await run(throttled, 'echo', 'runs'), 'runs\n');
    await runtime.start(first);
    await runtime.start(second);
    assert.equal(await shimOf(first), await shimOf(second));
    assert.equal(await run(second, 'echo', 'again'), 'again\n');
    await endsWithoutTrace(sockets);
  });

  test('a new daemon takes them up, and what exited meanwhile; also after a new containerd', async () => {
    const [first, second] = [await start(), await start()];
    const ending = await start(['sh', '-c', 'sleep 0.4; exit 9']);
    const pids = [await pidOf(first), await pidOf(second)];
    const shim = await shimOf(first);
    await close();
    await sleep(600);
    runtime = await open();
    assert.deepEqual([await pidOf(first), await pidOf(second)], pids);
    assert.equal(await stateOf(ending), 'exited 9');
    // The shim's leader goes: the others are known to be its containers all the same.
    await runtime.remove(first, { force: true });
    await close();
    runtime = await open();
    assert.deepEqual([await shimOf(second), await pidOf(second)], [shim, pids[1]]);
    process.kill(containerdPid(), 'SIGKILL');
    await eventually('containerd is back', async () => {
      return await run(second, 'echo', 'back').then(
        (text) => text === 'back\n',
        () => false,
      );
    });
    assert.deepEqual([await shimOf(second), await pidOf(second)], [shim, pids[1]]);
    const later = await start();
    assert.notEqual(await shimOf(later), shim, 'an earlier daemon’s get no new ones');
    await runtime.stop(second);
    assert.equal(await stateOf(second), 'exited 3');
    await endsWithoutTrace();
  });

  test('a container that an earlier version started has its shim for itself, and keeps it', async () => {
    const id = await start(forever, { host: { NanoCpus: 5e8 } });
    const [pid, shim] = [await pidOf(id), await shimOf(id)];
    await close();
    const file = join(options().stateDirectory, id, 'config.json');
    const record = JSON.parse(readFileSync(file, 'utf8'));
    assert.equal(record.shim, id);
    delete record.shim;
    await writeFile(file, JSON.stringify(record));
    runtime = await open();
    assert.deepEqual([await pidOf(id), await shimOf(id), await stateOf(id)], [pid, shim, 'running']);
    assert.equal(await run(id, 'echo', 'well'), 'well\n');
    await runtime.stop(id);
    assert.equal(await stateOf(id), 'exited 3');
    await removeAll();
    await eventually('no shim is left', () => shims().length === 0);
  });

  test('a creation that hangs holds up no other start, and nobody is put behind it', async () => {
    const first = await start();
    const hanging = await create();
    const { reached, end } = await hold('create', hanging);
    const starting = runtime.start(hanging);
    await reached();
    const begin = performance.now();
    const others = await Promise.all([start(), start(), start()]);
    assert.ok(performance.now() - begin < 4000, `${Math.round(performance.now() - begin)} ms`);
    const shim = await shimOf(first);
    for (const id of others) assert.notEqual(await shimOf(id), shim);
    await end();
    await starting;
    assert.equal(await shimOf(hanging), shim);
    assert.deepEqual([await stateOf(first), await stateOf(hanging)], ['running', 'running']);
    await removeAll();
    await eventually('no shim is left', () => shims().length === 0);
  });

  for (const victims of ['daemon', 'daemon and containerd']) {
    test(`kill -9 of ${victims} in the middle of a start takes nothing from the others of the shim`, async () => {
      await close();
      const [running, starting] = [
        specOf(['sh', '-c', 'n=0; while :; do n=$((n+1)); echo $n; sleep 0.1; done']),
        specOf(),
      ];
      const { reached, end } = await hold('create', starting.id);
      const daemon = await daemonThatStarts([running, starting]);
      await daemon.started;
      await reached();
      const [shim] = shims();
      const killsContainerd = victims !== 'daemon';
      if (killsContainerd) process.kill(containerdPid(), 'SIGKILL');
      await daemon.kill();
      if (killsContainerd) await eventually('containerd is gone', async () => !(await isListening(paths().socket)));
      // It is there before runc has come to its end: the shim finds readers.
      const opening = open();
      await sleep(1000);
      await end();
      runtime = await opening;
      assert.equal(await stateOf(running.id), 'running');
      assert.deepEqual([await shimOf(running.id), shims()], [shim, [shim]]);
      assert.equal(await run(running.id, 'echo', 'well'), 'well\n');
      assert.equal(await stateOf(starting.id), 'created');
      await eventually(
        'what was half made is gone',
        () => !processes().some(({ words }) => words.join(' ').includes('runc init')),
      );
      await runtime.start(starting.id);
      assert.equal(await run(starting.id, 'echo', 'as well'), 'as well\n');
      const lines: number[] = [];
      for await (const { line } of runtime.logs(running.id, { stdout: true, stderr: true, follow: false }))
        lines.push(Number(Buffer.from(line).toString()));
      assert.ok(lines.length > 5);
      assert.deepEqual(
        lines,
        lines.map((_, position) => position + 1),
      );
      await removeAll();
      await eventually('no shim is left', () => shims().length === 0);
    });
  }

  test('kill -9 of containerd in the middle of a start takes nothing from the others of the shim', async () => {
    const [first, starting] = [await start(), await create()];
    const pid = await pidOf(first);
    const { reached, end } = await hold('create', starting);
    const failing = assert.rejects(runtime.start(starting));
    await reached();
    process.kill(containerdPid(), 'SIGKILL');
    await failing;
    await eventually('containerd is back', () =>
      run(first, 'echo', 'well').then(
        (text) => text === 'well\n',
        () => false,
      ),
    );
    assert.equal(await pidOf(first), pid);
    await end();
    await runtime.start(starting);
    assert.equal(await run(starting, 'echo', 'as well'), 'as well\n');
    await removeAll();
    await eventually('no shim is left', () => shims().length === 0);
  });

  test('kill -9 of the daemon while it puts a process into a container leaves the shim to the others', async () => {
    await close();
    const Healthcheck = { Test: ['CMD', 'true'], Interval: 1e8, Timeout: 60e9 };
    const [probed, other] = [specOf(forever, { config: { Healthcheck } }), specOf()];
    const { reached, end } = await hold('exec', probed.id);
    const daemon = await daemonThatStarts([other, probed]);
    await reached();
    await daemon.kill();
    const opening = open();
    await sleep(1000);
    await end();
    runtime = await opening;
    assert.equal(await shimOf(probed.id), await shimOf(other.id));
    assert.deepEqual([await stateOf(probed.id), await stateOf(other.id)], ['running', 'running']);
    assert.equal(await run(other.id, 'echo', 'well'), 'well\n');
    await eventually('it is well', async () => (await runtime.inspect(probed.id)).State.Health?.Status === 'healthy');
    await removeAll();
    await eventually('no shim is left', () => shims().length === 0);
  });

  test('a container is not paused while a process is put into it, which would hold up all of the shim', async () => {
    const [first, second] = [await start(), await start()];
    const { reached, end } = await hold('exec', first);
    const entering = run(first, 'echo', 'in');
    await reached();
    const pausing = runtime.pause(first);
    await sleep(300);
    assert.equal(await stateOf(first), 'running');
    await end();
    await pausing;
    assert.deepEqual([await stateOf(first), await stateOf(second)], ['paused', 'running']);
    await assert.rejects(run(first, 'true'), /is paused, unpause the container before exec/);
    assert.equal(await run(second, 'echo', 'runs'), 'runs\n');
    await runtime.unpause(first);
    assert.equal(await entering, 'in\n');
    await removeAll();
  });
});
