/** The room under a containerd of its own: real containers of a busybox image that the test makes. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, statfs, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type EngineEvent, EventBus, newHexId, silentLogger } from '../common/index.ts';
import { connectContainerd } from './containerd/client.ts';
import { socketsOfShim } from './containerd/shim-socket.ts';
import {
  type ContainerCreate,
  type ContainerRuntime,
  type ContainerRuntimeOptions,
  openContainerRuntime,
  stopManagedContainerd,
} from './index.ts';
import { makeFifos } from './process/fifos.ts';
import { containerOf, type Wishes } from './testing/containers.ts';
import { busyboxArchive, streamOf } from './testing/image.ts';
import { parseTime } from './time.ts';
import type { ExecCreate, LogEntry, LogOptions } from './types.ts';

const image = 'busybox';

const execOf = (Cmd: string[], more: Partial<ExecCreate> = {}): ExecCreate => ({
  Cmd,
  Env: [],
  User: '',
  WorkingDir: '',
  Tty: false,
  AttachStdin: false,
  AttachStdout: true,
  AttachStderr: true,
  Privileged: false,
  ...more,
});

async function textOf(stream: AsyncIterable<unknown> | undefined): Promise<string> {
  let text = '';
  for await (const chunk of stream ?? []) text += String(chunk);
  return text;
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return ''; // It ended meanwhile.
  }
}

describe('container runtime', { timeout: 120_000 }, () => {
  let directory: string;
  let runtime: ContainerRuntime;
  const events: EngineEvent[] = [];
  const network = `skein-container-test-${process.pid}`;

  const paths = (): { root: string; state: string; socket: string } => ({
    root: join(directory, 'containerd'),
    state: join(directory, 'run-containerd'),
    socket: join(directory, 'containerd.sock'),
  });

  const options = (): Omit<ContainerRuntimeOptions, 'events' | 'logger'> => ({
    stateDirectory: join(directory, 'containers'),
    runDirectory: join(directory, 'run'),
    containerd: { managed: paths() },
    cgroupParent: `/${basename(directory)}`,
  });

  async function open(): Promise<ContainerRuntime> {
    const bus = new EventBus();
    bus.subscribe((event) => events.push(event));
    return await openContainerRuntime({ ...options(), events: bus, logger: silentLogger() });
  }

  const specOf = (command: string[], wishes: Wishes = {}): ContainerCreate =>
    containerOf(command, { image, networkNamespace: `/run/netns/${network}`, ...wishes });

  async function create(command: string[], wishes: Wishes = {}): Promise<string> {
    const spec = specOf(command, wishes);
    await runtime.create(spec);
    return spec.id;
  }

  async function logsOf(id: string, options: Partial<LogOptions> = {}): Promise<LogEntry[]> {
    const entries: LogEntry[] = [];
    for await (const entry of runtime.logs(id, { stdout: true, stderr: true, follow: false, ...options })) {
      entries.push(entry);
    }
    return entries;
  }

  /** Runs a container to its end. */
  async function run(...given: Parameters<typeof create>): Promise<{ output: string; exitCode: number; id: string }> {
    const id = await create(...given);
    await runtime.start(id);
    const { exitCode } = await runtime.wait(id, 'not-running');
    const output = (await logsOf(id)).map(({ line }) => Buffer.from(line).toString()).join('');
    return { output, exitCode, id };
  }

  async function exec(
    id: string,
    spec: ExecCreate,
  ): Promise<{ stdout: string; stderr: string; exitCode: number | null }> {
    const execId = await runtime.execs.create(id, spec);
    const streams = await runtime.execs.start(execId);
    const [stdout, stderr] = await Promise.all([textOf(streams.stdout), textOf(streams.stderr)]);
    await runtime.execs.waitForExit(execId, AbortSignal.timeout(10_000));
    return { stdout, stderr, exitCode: runtime.execs.inspect(execId).ExitCode };
  }

  /** Process IDs of the shims that were started for a container. */
  const shimsOf = (id: string): number[] =>
    readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => commandLine(pid).includes('containerd-shim') && commandLine(pid).includes(id))
      .map(Number);

  const actionsOf = (id: string): string[] =>
    events.filter((event) => event.actor.id === id).map((event) => event.action);

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'skein-container-'));
    execFileSync('ip', ['netns', 'add', network]);
    runtime = await open();
    await runtime.images.import(streamOf(await busyboxArchive()), {
      reference: image,
      changes: ['ENV COLOR=blue', 'LABEL made=here'],
      message: '',
    });
  });

  after(async () => {
    for (const { Id } of (await runtime?.list()) ?? []) await runtime.remove(Id, { force: true });
    await runtime?.[Symbol.asyncDispose]();
    await stopManagedContainerd(paths());
    execFileSync('ip', ['netns', 'del', network]);
    const mounts = readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .filter((line) => line.includes(directory));
    assert.deepEqual(mounts, [], 'no mount is left');
    assert.equal(existsSync(`/sys/fs/cgroup/memory/${basename(directory)}`), false, 'no cgroup is left');
    await rm(directory, { recursive: true, force: true });
  });

  test('creates, starts, executes, logs, stops and removes in a given network namespace', async () => {
    const id = await create(['sh', '-c', 'echo out; echo err >&2; trap "exit 3" TERM; while :; do sleep 0.1; done']);
    assert.equal((await runtime.inspect(id)).State.Status, 'created');
    await runtime.start(id);
    const { State } = await runtime.inspect(id);
    assert.equal(State.Status, 'running');
    const inode = execFileSync('readlink', [`/proc/${State.Pid}/ns/net`])
      .toString()
      .trim();
    const wanted = execFileSync('nsenter', [`--net=/run/netns/${network}`, 'readlink', '/proc/self/ns/net'])
      .toString()
      .trim();
    assert.equal(inode, wanted);
    const executed = await exec(id, execOf(['sh', '-c', 'cat /etc/hosts; echo $COLOR >&2; exit 7']));
    assert.match(executed.stdout, /10\.0\.9\.3\tthe-host/);
    assert.equal(executed.stderr, 'blue\n');
    assert.equal(executed.exitCode, 7);
    // Longer than a timer can wait.
    await runtime.stop(id, { timeout: 3_000_000 });
    const stopped = (await runtime.inspect(id)).State;
    assert.deepEqual([stopped.Status, stopped.ExitCode], ['exited', 3]);
    const entries = await logsOf(id);
    assert.deepEqual(entries.map(({ stream, line }) => `${stream}:${Buffer.from(line)}`).sort(), [
      'stderr:err\n',
      'stdout:out\n',
    ]);
    await runtime.remove(id, { force: false });
    assert.throws(() => runtime.find(id), { message: `No such container: ${id}` });
    const actions = actionsOf(id);
    assert.deepEqual(
      actions.filter((action) => !action.startsWith('exec')),
      ['create', 'start', 'kill', 'die', 'stop', 'destroy'],
    );
  });

  test('follows Docker’s rules for command, environment, user, workdir and the files in /etc', async () => {
    const script =
      'id; pwd; hostname; cat /etc/hostname /etc/resolv.conf; env; cat /proc/self/status | grep -E "CapEff|Seccomp:"; cat /proc/sys/net/ipv4/ping_group_range';
    const { output } = await run(['sh', '-c', script], {
      config: { User: 'worker', WorkingDir: '/work/here', Env: ['COLOR=red', 'MORE=1'], Hostname: 'named' },
    });
    assert.match(
      output,
      /uid=1000\(worker\) gid=1001\(workers\) groups=1001\(workers\),1002\(extra\)\n\/work\/here\nnamed\nnamed\n/,
    );
    assert.match(output, /nameserver 127\.0\.0\.11/);
    assert.match(output, /COLOR=red\n/);
    assert.match(output, /HOME=\/tmp\n/);
    assert.match(output, /PATH=\/usr\/local\/sbin:/);
    assert.match(output, /CapEff:\s+0{16}\nSeccomp:\s+2\n/);
  });

  test('gives limits, capabilities, mounts, secrets and a read-only root', async () => {
    const script = [
      'cat /proc/self/status | grep -E "CapEff|CapBnd"',
      'mount | grep -E " /(data|cache|dev/shm) "',
      'cat /run/secrets/key; ls -l /run/secrets/key',
      '(echo x > /file) 2>&1; echo kept > /data/file',
      'cat /proc/self/cgroup | grep memory',
    ].join('; ');
    const { output, id } = await run(['sh', '-c', script], {
      host: {
        CapDrop: ['ALL'],
        CapAdd: ['CHOWN'],
        Memory: 64 * 1024 * 1024,
        PidsLimit: 20,
        NanoCpus: 5e8,
        ReadonlyRootfs: true,
        Mounts: [
          { Type: 'volume', Source: 'data', Target: '/data' },
          { Type: 'tmpfs', Target: '/cache', TmpfsOptions: { SizeBytes: 65536 } },
        ],
      },
      files: [{ path: '/run/secrets/key', contents: Buffer.from('secret\n'), uid: 0, gid: 0, mode: 0o400 }],
    });
    assert.match(output, /CapEff:\s+0{15}1\nCapBnd:\s+0{15}1/);
    assert.match(output, /tmpfs on \/cache .*size=64k/);
    assert.match(output, /size=65536k/);
    assert.match(output, /secret\n/);
    assert.match(output, /^-r-------- .* \/run\/secrets\/key$/m);
    assert.match(output, /Read-only file system/);
    assert.match(output, new RegExp(`/${basename(directory)}/${id}`));
    assert.equal(readFileSync(join(directory, 'volumes/data/_data/file'), 'utf8'), 'kept\n');
  });

  test('gives devices of the host, and a privileged container all of them and all that is hidden from others', async () => {
    const script = [
      'grep CapEff /proc/self/status; grep Seccomp: /proc/self/status',
      'ls -l /dev/mine /dev/loop-control 2>&1',
      'head -c 2 /dev/mine | wc -c',
      '(echo 1 > /proc/sys/kernel/printk_delay) 2>&1 && echo written',
      'grep -E " /sys sysfs" /proc/mounts; cat /proc/1/comm; hostname',
    ].join('; ');
    const devices = [{ PathOnHost: '/dev/zero', PathInContainer: '/dev/mine', CgroupPermissions: 'r' }];
    const plain = await run(['sh', '-c', script], { host: { Devices: devices } });
    assert.match(plain.output, /Seccomp:\s+2\n/);
    assert.match(plain.output, /^crw-rw-rw-.* 1, +5 .*\/dev\/mine$/m);
    assert.match(plain.output, /loop-control: No such file/);
    assert.match(plain.output, /^2\n/m);
    assert.match(plain.output, /Read-only file system/);
    assert.match(plain.output, / \/sys sysfs ro,/);

    const delay = readFileSync('/proc/sys/kernel/printk_delay', 'utf8');
    const host = { Devices: devices, Privileged: true, PidMode: 'host', UTSMode: 'host', IpcMode: 'host' };
    const { output, id } = await run(['sh', '-c', script.replace('echo 1', `echo ${delay.trim()}`)], { host });
    const held = /^CapEff:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '';
    assert.match(output, new RegExp(`CapEff:\\s+${held}\nSeccomp:\\s+0\n`));
    assert.match(output, /\/dev\/mine$/m);
    assert.match(output, /^crw.*\/dev\/loop-control$/m);
    assert.match(output, /^written$/m);
    assert.match(output, / \/sys sysfs rw,/);
    assert.match(output, new RegExp(`^${readFileSync('/proc/1/comm', 'utf8').trim()}\n${hostname()}\n$`, 'm'));
    const { HostConfig } = await runtime.inspect(id);
    assert.deepEqual(
      [HostConfig.Privileged, HostConfig.PidMode, HostConfig.MaskedPaths, HostConfig.Devices],
      [true, 'host', null, devices],
    );
    await assert.rejects(
      run(['true'], { host: { Devices: [{ ...devices[0], PathOnHost: '/dev/none' }] as typeof devices } }),
      /error gathering device information while adding custom device "\/dev\/none": no such file or directory/,
    );
  });

  test('secrets and configs are in memory, over restarts of the daemon, and gone with their container', async () => {
    const words = `hunter-${newHexId()}`;
    const id = await create(['sh', '-c', 'cat /run/secrets/key; sleep 100'], {
      files: [{ path: '/run/secrets/key', contents: Buffer.from(words), uid: 0, gid: 0, mode: 0o400 }],
    });
    await runtime.start(id);
    const { type } = await statfs(join(directory, 'run', id, 'files'));
    assert.equal(type, 0x01021994, 'a tmpfs');
    const onDisk = execFileSync('find', [
      directory,
      '-xdev',
      '-name',
      '*-json.log',
      '-prune',
      '-o',
      '-type',
      'f',
      '-print',
    ])
      .toString()
      .trim()
      .split('\n')
      .filter((file) => readFileSync(file).includes(words));
    assert.deepEqual(onDisk, []);
    await runtime[Symbol.asyncDispose]();
    runtime = await open();
    await runtime.restart(id, { timeout: 0 });
    assert.equal((await exec(id, execOf(['cat', '/run/secrets/key']))).stdout, words);
    await runtime.stop(id, { timeout: 0 });
    assert.equal((await runtime.files.stat(id, '/etc')).name, 'etc', 'a stopped one can be looked into as well');
    await runtime.remove(id, { force: true });
    assert.equal(existsSync(join(directory, 'run', id)), false);
    assert.doesNotMatch(readFileSync('/proc/self/mounts', 'utf8'), new RegExp(id));
  });

  test('an executed command has the container’s limits, and a privileged one all that the daemon can give', async () => {
    const id = await create(['sleep', '100'], { host: { Ulimits: [{ Name: 'stack', Soft: 1048576, Hard: 2097152 }] } });
    await runtime.start(id);
    const { stdout: limits } = await exec(id, execOf(['cat', '/proc/self/limits']));
    assert.match(limits, /Max stack size +1048576 +2097152/);
    const capabilities = execOf(['grep', 'CapEff', '/proc/self/status'], { Privileged: true });
    const own = /^CapEff:.*\n/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[0];
    assert.equal((await exec(id, capabilities)).stdout, own);
    await runtime.remove(id, { force: true });
  });

  test('a forced removal does not wait for a stop that gives the process time', async () => {
    const id = await create(['sh', '-c', 'trap "" TERM; echo deaf; while :; do sleep 0.1; done']);
    await runtime.start(id);
    while ((await logsOf(id)).length === 0) await sleep(20);
    const stopping = runtime.stop(id, { timeout: 20 });
    await sleep(100);
    const before = Date.now();
    await runtime.remove(id, { force: true });
    assert.ok(Date.now() - before < 5_000, `removed after ${Date.now() - before} ms`);
    await stopping;
  });

  test('reports a command that is not there as Docker does', async () => {
    const id = await create(['nosuch']);
    await assert.rejects(
      runtime.start(id),
      /OCI runtime create failed: .*exec: "nosuch": executable file not found in \$PATH: unknown/,
    );
    const { State } = await runtime.inspect(id);
    assert.deepEqual([State.Status, State.ExitCode], ['created', 127]);
    assert.match(State.Error, /executable file not found/);
    const running = await create(['sleep', '60']);
    await runtime.start(running);
    const execId = await runtime.execs.create(running, execOf(['nosuch']));
    await assert.rejects(
      runtime.execs.start(execId),
      /OCI runtime exec failed: exec failed: .*executable file not found in \$PATH: unknown/,
    );
    assert.equal(runtime.execs.inspect(execId).ExitCode, 127);
    await assert.rejects(
      runtime.remove(running, { force: false }),
      /^SkeinError: You cannot remove a running container/,
    );
    await runtime.kill(running, 'KILL');
    assert.equal((await runtime.inspect(running)).State.ExitCode, 137);
    await assert.rejects(runtime.execs.create(running, execOf(['true'])), {
      message: `Container ${running} is not running`,
    });
    await assert.rejects(runtime.stop(running), { code: 'NotModified' });
  });

  test('executes with standard input, and with a terminal of a given size', async () => {
    const id = await create(['sleep', '60']);
    await runtime.start(id);
    const catId = await runtime.execs.create(id, execOf(['cat'], { AttachStdin: true }));
    const cat = await runtime.execs.start(catId);
    const input = 'x'.repeat(300_000);
    cat.stdin?.end(input);
    assert.equal((await textOf(cat.stdout)).length, input.length);
    const ttyId = await runtime.execs.create(
      id,
      execOf(['sh', '-c', 'stty size; sleep 0.4; stty size; read line; echo "got $line"'], {
        Tty: true,
        AttachStdin: true,
      }),
    );
    const tty = await runtime.execs.start(ttyId, { rows: 33, columns: 101 });
    assert.equal(tty.stderr, undefined);
    await runtime.execs.resize(ttyId, { rows: 44, columns: 111 });
    tty.stdin?.write('hello\n');
    const shown = await textOf(tty.stdout);
    assert.match(shown, /44 111\r\n/);
    assert.match(shown, /got hello\r\n/);
    tty.stdin?.destroy();
  });

  test('reads logs with tail, since and follow', async () => {
    const id = await create(['sh', '-c', 'seq 1 5; sleep 0.3; seq 6 8']);
    await runtime.start(id);
    const followed = (await logsOf(id, { follow: true })).map(({ line }) => Buffer.from(line).toString().trim());
    assert.deepEqual(followed, ['1', '2', '3', '4', '5', '6', '7', '8']);
    const all = await logsOf(id);
    const lines = async (options: Partial<LogOptions>): Promise<string> =>
      (await logsOf(id, options)).map(({ line }) => Buffer.from(line).toString().trim()).join(' ');
    assert.equal(await lines({ tail: 2 }), '7 8');
    assert.equal(await lines({ tail: 0 }), '');
    const sixth = all[5]?.timestamp ?? '';
    assert.equal(await lines({ since: parseTime(sixth) }), '6 7 8');
    assert.equal(await lines({ until: parseTime(all[4]?.timestamp ?? '') }), '1 2 3 4 5');
  });

  test('attaches to the main process and its input, and pauses it', async () => {
    const id = await create(['sh', '-c', 'read line; echo "got $line"; sleep 60'], { config: { OpenStdin: true } });
    await runtime.start(id);
    const streams = await runtime.attach(id, { stdin: true });
    const first = new Promise<string>((resolve) => streams.stdout.once('data', (chunk) => resolve(String(chunk))));
    streams.stdin?.write('this\n');
    assert.equal(await first, 'got this\n');
    await runtime.pause(id);
    assert.equal((await runtime.inspect(id)).State.Status, 'paused');
    await assert.rejects(runtime.execs.create(id, execOf(['true'])), /is paused, unpause the container before exec/);
    await runtime.unpause(id);
    const { Titles, Processes } = await runtime.top(id, '-ef');
    assert.ok(Titles.includes('PID') && Processes.some((row) => row.at(-1) === 'sleep 60'), JSON.stringify(Processes));
    await runtime.remove(id, { force: true });
  });

  test('ends the process’s input with the attached one, and gives the main process a terminal', async () => {
    const id = await create(['cat'], { config: { OpenStdin: true } });
    await runtime.start(id);
    const streams = await runtime.attach(id, { stdin: true });
    streams.stdin?.end('all of it');
    assert.equal(await textOf(streams.stdout), 'all of it');
    assert.equal((await runtime.wait(id, 'not-running')).exitCode, 0);
    const tty = await create(['sh', '-c', 'sleep 0.3; stty size'], { config: { Tty: true } });
    await runtime.start(tty);
    await runtime.resize(tty, { columns: 77, rows: 22 });
    await runtime.wait(tty, 'not-running');
    assert.equal(String((await logsOf(tty))[0]?.line), '22 77\r\n');
  });

  test('attaches to the next run of a container that does not run', async () => {
    const id = await create(['sh', '-c', 'read line; echo "first $line"'], { config: { OpenStdin: true } });
    const streams = await runtime.attach(id, { stdin: true });
    streams.stdin?.write('words\n');
    await runtime.start(id);
    assert.equal(await textOf(streams.stdout), 'first words\n');
    const removed = await runtime.attach(id, { stdin: false });
    await runtime.remove(id, { force: true });
    assert.equal(await textOf(removed.stdout), '');
  });

  test('who attaches while the container is being started is attached to this run', async () => {
    const id = await create(['sh', '-c', 'read line; echo "got $line"'], { config: { OpenStdin: true } });
    const starting = runtime.start(id);
    const pipe = join(directory, 'run', id, 'init', 'stdout');
    while (!existsSync(pipe)) await sleep(1);
    await sleep(5);
    const streams = await runtime.attach(id, { stdin: true });
    await starting;
    streams.stdin?.end('words\n');
    assert.equal(await Promise.race([textOf(streams.stdout), sleep(5000, 'nothing came')]), 'got words\n');
  });

  test('tells a kill for want of memory', async () => {
    const id = await create(['sh', '-c', 'tail /dev/zero'], {
      host: { Memory: 16 * 1024 * 1024, MemorySwap: 16 * 1024 * 1024 },
    });
    await runtime.start(id);
    await runtime.wait(id, 'not-running');
    for (let tries = 0; !(await runtime.inspect(id)).State.OOMKilled && tries < 50; tries++) await sleep(20);
    const { State } = await runtime.inspect(id);
    assert.deepEqual([State.ExitCode, State.OOMKilled], [137, true]);
  });

  test('checks health through exec', async () => {
    const Healthcheck = { Test: ['CMD-SHELL', 'test -e /tmp/well'], Interval: 1e8, Retries: 2, Timeout: 5e9 };
    const id = await create(['sleep', '60'], { config: { Healthcheck } });
    await runtime.start(id);
    assert.equal((await runtime.inspect(id)).State.Health?.Status, 'starting');
    const until = async (status: string): Promise<void> => {
      for (let tries = 0; tries < 100; tries++) {
        if ((await runtime.inspect(id)).State.Health?.Status === status) return;
        await sleep(50);
      }
      assert.fail(`not ${status}: ${JSON.stringify((await runtime.inspect(id)).State.Health)}`);
    };
    await until('unhealthy');
    await exec(id, execOf(['sh', '-c', 'echo > /tmp/well']));
    await until('healthy');
    // It is said once it is on disk.
    for (let tries = 0; tries < 100 && !actionsOf(id).includes('health_status: healthy'); tries++) await sleep(50);
    assert.ok(actionsOf(id).includes('health_status: healthy'), actionsOf(id).join());
    await runtime.remove(id, { force: true });
  });

  test('takes up running containers after a restart of the daemon, and exits that it did not see', async () => {
    const id = await create(['sh', '-c', 'n=0; while :; do n=$((n+1)); echo $n; sleep 0.1; done']);
    const ending = await create(['sh', '-c', 'sleep 0.4; exit 9']);
    await runtime.start(id);
    await runtime.start(ending);
    const { Pid } = (await runtime.inspect(id)).State;
    await sleep(250);
    await runtime[Symbol.asyncDispose]();
    await sleep(600);
    runtime = await open();
    const { State } = await runtime.inspect(id);
    assert.deepEqual([State.Status, State.Pid], ['running', Pid]);
    const missed = (await runtime.inspect(ending)).State;
    assert.deepEqual([missed.Status, missed.ExitCode], ['exited', 9]);
    await sleep(300);
    const numbers = (await logsOf(id)).map(({ line }) => Number(Buffer.from(line).toString()));
    assert.deepEqual(
      numbers,
      numbers.map((_, position) => position + 1),
      'no line is lost',
    );
    assert.ok(numbers.length > 8, `${numbers.length} lines`);
    await runtime.restart(id, { timeout: 0 });
    assert.notEqual((await runtime.inspect(id)).State.Pid, Pid);
    await runtime.rename(id, 'renamed');
    assert.equal(runtime.find('renamed'), id);
    assert.equal(runtime.find(id.slice(0, 10)), id);
    await runtime.remove(id, { force: true });
  });

  test('loses neither container nor line of its log when the daemon is killed', async () => {
    await runtime[Symbol.asyncDispose]();
    const spec = specOf(['sh', '-c', 'n=0; while :; do n=$((n+1)); echo $n; sleep 0.05; done']);
    const argument = JSON.stringify({ options: options(), specs: [spec] });
    const script = join(import.meta.dirname, 'testing/daemon.ts');
    const daemon = spawn(process.execPath, ['--conditions=source', script, argument], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(daemon.stdout, 'data');
    await sleep(300);
    daemon.kill('SIGKILL');
    await once(daemon, 'exit');
    const halfMade = newHexId();
    const record = JSON.parse(readFileSync(join(directory, 'containers', spec.id, 'config.json'), 'utf8'));
    await mkdir(join(directory, 'containers', halfMade));
    const half = { ...record, id: halfMade, name: 'half', phase: 'creating' };
    await writeFile(join(directory, 'containers', halfMade, 'config.json'), JSON.stringify(half));
    using containerd = connectContainerd(paths().socket);
    await containerd.leases.create({ id: 'skein-of-a-killed-daemon' });
    await sleep(300);
    runtime = await open();
    assert.deepEqual((await containerd.leases.list({})).leases, []);
    assert.equal((await runtime.inspect(spec.id)).State.Status, 'running');
    assert.throws(() => runtime.find('half'), /No such container: half/);
    assert.equal(existsSync(join(directory, 'containers', halfMade)), false);
    await sleep(200);
    const numbers = (await logsOf(spec.id)).map(({ line }) => Number(Buffer.from(line).toString()));
    assert.ok(numbers.length > 8, `${numbers.length} lines`);
    assert.deepEqual(
      numbers,
      numbers.map((_, position) => position + 1),
    );
    await runtime.remove(spec.id, { force: true });
  });

  test('leaves no shim of a start in whose middle the daemon was killed', async () => {
    const { id } = await run(['true']);
    const pipes = await makeFifos(join(directory, 'run', id, 'init'), { stdin: false, stdout: true, stderr: true });
    {
      using containerd = connectContainerd(paths().socket);
      const { mounts } = await containerd.snapshots.mounts({ snapshotter: 'overlayfs', key: id });
      const request = { containerId: id, rootfs: mounts, terminal: false, ...pipes };
      // Nobody reads the pipes: the shim waits for a reader until its caller is gone.
      await assert.rejects(containerd.tasks.create(request, { signal: AbortSignal.timeout(500) }));
    }
    const sockets = (await Promise.all(shimsOf(id).map(socketsOfShim))).flat();
    assert.ok(sockets.length > 0 && sockets.every(existsSync), sockets.join());
    await runtime[Symbol.asyncDispose]();
    runtime = await open();
    for (let tries = 0; shimsOf(id).length > 0 && tries < 50; tries++) await sleep(100);
    assert.deepEqual(shimsOf(id), []);
    assert.deepEqual(sockets.filter(existsSync), []);
    await runtime.start(id);
    assert.equal((await runtime.wait(id, 'not-running')).exitCode, 0);
    await runtime.remove(id, { force: true });
  });

  test('an exec in whose start the daemon was killed holds up no other, and health is as it was', async () => {
    const Healthcheck = { Test: ['CMD', 'true'], Interval: 5e8 };
    const id = await create(['sleep', '60'], { config: { Healthcheck } });
    await runtime.start(id);
    const health = async (): Promise<string | undefined> => (await runtime.inspect(id)).State.Health?.Status;
    for (let tries = 0; (await health()) !== 'healthy' && tries < 100; tries++) await sleep(50);
    await runtime[Symbol.asyncDispose]();
    const [execs, execId] = [join(directory, 'run', id, 'execs'), newHexId()];
    const pipes = await makeFifos(join(execs, execId), { stdin: false, stdout: true, stderr: true });
    const process = { terminal: false, user: { uid: 0, gid: 0 }, args: ['echo', 'late'], env: [], cwd: '/' };
    const spec = {
      typeUrl: 'types.containerd.io/opencontainers/runtime-spec/1/Process',
      value: Buffer.from(JSON.stringify(process)),
    };
    {
      using containerd = connectContainerd(paths().socket);
      await containerd.tasks.exec({ containerId: id, execId, ...pipes, spec });
      // Nobody reads the pipes: the shim waits for a reader, and lets nobody else start anything.
      const start = containerd.tasks.start({ containerId: id, execId }, { signal: AbortSignal.timeout(500) });
      await assert.rejects(start);
    }
    runtime = await open();
    assert.equal(await health(), 'healthy');
    const since = Date.now();
    assert.equal((await exec(id, execOf(['echo', 'at once']))).stdout, 'at once\n');
    assert.ok(Date.now() - since < 10_000, `${Date.now() - since} ms`);
    const left = (): string[] => readdirSync(execs).filter((name) => name === execId);
    for (let tries = 0; left().length > 0 && tries < 100; tries++) await sleep(50);
    assert.deepEqual(left(), []);
    await runtime.remove(id, { force: true });
  });

  test('fills an empty volume with what the image has, and removes an anonymous one', async () => {
    const { output, id } = await run(['sh', '-c', 'cat /etc/group; echo more > /etc/added'], {
      host: {
        Binds: ['named:/data:ro'],
        Mounts: [
          { Type: 'volume', Target: '/etc' },
          { Type: 'volume', Source: 'named', Target: '/data', ReadOnly: true },
        ],
      },
      config: { Volumes: { '/of-image': {} } },
    });
    assert.match(output, /workers:x:1001/);
    const mounts = (await runtime.inspect(id)).Mounts;
    assert.deepEqual(
      mounts.map(({ Mode }) => Mode),
      ['z', 'ro', ''],
    );
    const [mount] = mounts;
    assert.equal(readFileSync(join(mount?.Source ?? '', 'added'), 'utf8'), 'more\n');
    await runtime.remove(id, { force: false });
    assert.equal(existsSync(mount?.Source ?? ''), false);
  });

  test('starts containerd again when it dies; containers run on and their exits are seen', async () => {
    const id = await create(['sh', '-c', 'sleep 3; exit 4']);
    await runtime.start(id);
    const pid = Number(readFileSync(join(paths().state, 'containerd.pid'), 'utf8'));
    process.kill(pid, 'SIGKILL');
    const { exitCode } = await runtime.wait(id, 'not-running');
    assert.equal(exitCode, 4);
    assert.notEqual(Number(readFileSync(join(paths().state, 'containerd.pid'), 'utf8')), pid);
    await runtime.remove(id, { force: false });
  });

  test('lists, inspects, tags and removes images', async () => {
    const [listed] = await runtime.images.list({ reference: ['busybox'] }, { all: false, digests: false });
    assert.deepEqual(listed?.RepoTags, ['busybox:latest']);
    await runtime.images.tag('busybox', 'localhost:5000/other/name:v1');
    const inspected = await runtime.images.inspect('localhost:5000/other/name:v1');
    assert.deepEqual(inspected.RepoTags, ['busybox:latest', 'localhost:5000/other/name:v1']);
    assert.deepEqual((inspected.Config as { Env: string[] }).Env, ['COLOR=blue']);
    assert.deepEqual(await runtime.images.remove('localhost:5000/other/name:v1', { force: false, noPrune: false }), [
      { Untagged: 'localhost:5000/other/name:v1' },
    ]);
    await assert.rejects(runtime.images.inspect('nope'), { message: 'No such image: nope:latest' });
    const id = await create(['true']);
    await assert.rejects(
      runtime.images.remove('busybox', { force: false, noPrune: false }),
      /^SkeinError: conflict: unable to remove repository reference "busybox" \(must force\) - container [0-9a-f]{12} is using its referenced image [0-9a-f]{12}$/,
    );
    await runtime.remove(id, { force: false });
  });
});
