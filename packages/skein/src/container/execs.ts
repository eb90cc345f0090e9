/** Further processes in running containers: `docker exec`, and the probes of health checks. */

import { existsSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { longestTimeoutMs, newHexId, SkeinError } from '../common/index.ts';
import type { Container } from './container.ts';
import { fromContainerd, isNotFound, snapshotter, unlessNotFound } from './containerd/client.ts';
import type { Context } from './context.ts';
import { Status } from './gen/task_types_pb.js';
import type { ProbeResult } from './health.ts';
import { availableCapabilities, capabilitiesOf } from './oci/capabilities.ts';
import { environmentOf, resourceLimits } from './oci/process.ts';
import { layerDirectories, readRootFile } from './oci/rootfs.ts';
import { securityOptions } from './oci/spec.ts';
import type { OciProcess } from './oci/types.ts';
import { resolveUser } from './oci/user.ts';
import { waitForExit } from './process/exit.ts';
import { makeFifos, openFifos, presentFifos } from './process/fifos.ts';
import { signalNumber } from './signals.ts';
import { startExitCode } from './start-error.ts';
import type { ExecCreate, ExecInspect, Execs, ProcessStreams, TerminalSize } from './types.ts';

const processType = 'types.containerd.io/opencontainers/runtime-spec/1/Process';
/** How long an ended exec can still be inspected, in milliseconds (moby daemon/exec.go: 5 minutes). */
const keptMs = 300_000;
/** Execs of one container that are not ended yet. */
const maximumExecs = 1000;
/** How long after the end of its output a process may take to end, before it counts as running on without one. */
const exitAfterOutputMs = 2000;
/** How long a start that an earlier daemon asked for may take, and how often it is looked for, in milliseconds. */
const startMs = 3000;
const startPollMs = 100;
/** Output of a probe that is kept, in bytes. */
const maximumProbeOutput = 4096;

interface Exec {
  readonly id: string;
  readonly container: Container;
  readonly spec: ExecCreate;
  running: boolean;
  started: boolean;
  exitCode: number | null;
  pid: number;
  endedAt: number;
  /** Settles when the exit code is known. */
  readonly exited: PromiseWithResolvers<void>;
  ended: Promise<void>;
}

export class ContainerExecs implements Execs {
  readonly #context: Context;
  readonly #find: (id: string) => Container;
  /** BOUNDED: `maximumExecs` a container, ended ones for `keptMs`. */
  readonly #execs = new Map<string, Exec>();

  constructor(context: Context, find: (id: string) => Container) {
    this.#context = context;
    this.#find = find;
  }

  async create(containerId: string, spec: ExecCreate): Promise<string> {
    const container = this.#find(containerId);
    container.assertRunning();
    if (container.state.Paused) {
      throw new SkeinError('Conflict', `Container ${containerId} is paused, unpause the container before exec`);
    }
    if (spec.Cmd.length === 0 || spec.Cmd[0] === '')
      throw new SkeinError('InvalidArgument', 'No exec command specified');
    this.#forgetOld();
    if (this.idsOf(containerId).length >= maximumExecs) {
      throw new SkeinError('ResourceExhausted', `Container ${containerId} has ${maximumExecs} exec instances already`);
    }
    const exec = this.#add(container, spec);
    container.publish(`exec_create: ${spec.Cmd.join(' ')}`, { execID: exec.id });
    return exec.id;
  }

  #add(container: Container, spec: ExecCreate): Exec {
    const state = { running: false, started: false, exitCode: null, pid: 0, endedAt: 0, ended: Promise.resolve() };
    const exec: Exec = { id: newHexId(), container, spec, exited: Promise.withResolvers(), ...state };
    this.#execs.set(exec.id, exec);
    return exec;
  }

  #forgetOld(): void {
    const limit = Date.now() - keptMs;
    for (const [id, exec] of this.#execs) if (exec.endedAt !== 0 && exec.endedAt < limit) this.#execs.delete(id);
  }

  /** @returns the execs of a container that have not ended. */
  idsOf(containerId: string): string[] {
    return [...this.#execs.values()].filter((e) => e.container.id === containerId && e.endedAt === 0).map((e) => e.id);
  }

  /** Of the pipes of the container's execs. */
  #directoryOf(containerId: string): string {
    return join(this.#context.runDirectory, containerId, 'execs');
  }

  /**
   * Sees to the execs that an earlier daemon has left, without waiting for their ends. One whose pipes lost their reader
   * before its start came to open them would hold up every other start in the container until the shim gives up, after 30 s
   * (containerd pkg/process/exec.go).
   */
  async adopt(containerId: string): Promise<void> {
    const directory = this.#directoryOf(containerId);
    const left = existsSync(directory) ? await readdir(directory) : [];
    for (const execId of left) {
      this.#finish({ containerId, execId }, join(directory, execId)).catch((error: unknown) => {
        if (this.#context.closed.aborted) return;
        this.#context.logger.error(
          { err: error, id: containerId },
          'an exec of an earlier daemon was not seen to its end',
        );
      });
    }
  }

  /** Nobody is there for its output, or gives it input, any more. */
  async #finish(process: { containerId: string; execId: string }, directory: string): Promise<void> {
    const { containerd, closed } = this.#context;
    const streams = await openFifos(presentFifos(directory));
    try {
      streams.stdout.resume();
      streams.stderr?.resume();
      if (streams.stdin) await unlessNotFound(containerd.tasks.closeIO({ ...process, stdin: true }));
      if (await this.#isStarted(process)) await waitForExit(containerd, process, closed);
      await unlessNotFound(containerd.tasks.deleteProcess(process));
    } finally {
      for (const stream of [streams.stdin, streams.stdout, streams.stderr]) stream?.destroy();
    }
    await rm(directory, { recursive: true, force: true });
  }

  /** A start that was asked for is given time to come. */
  async #isStarted(process: { containerId: string; execId: string }): Promise<boolean> {
    const { containerd, closed } = this.#context;
    for (const deadline = Date.now() + startMs; ; await sleep(startPollMs, undefined, { signal: closed })) {
      const found = await unlessNotFound(containerd.tasks.get(process));
      if (found?.process?.status !== Status.CREATED) return found !== undefined;
      if (Date.now() > deadline) return false;
    }
  }

  /** Forgets those of a removed container. */
  forget(containerId: string): void {
    for (const [id, exec] of this.#execs) if (exec.container.id === containerId) this.#execs.delete(id);
  }

  #get(execId: string): Exec {
    const exact = this.#execs.get(execId);
    if (exact) return exact;
    const matches = [...this.#execs.values()].filter((exec) => execId !== '' && exec.id.startsWith(execId));
    const [match] = matches;
    if (!match || matches.length > 1) throw new SkeinError('NotFound', `No such exec instance: ${execId}`);
    return match;
  }

  async start(execId: string, size?: TerminalSize): Promise<ProcessStreams> {
    const exec = this.#get(execId);
    const { AttachStdin, AttachStdout, AttachStderr, Tty } = exec.spec;
    const wanted = { stdin: AttachStdin, stdout: AttachStdout || Tty, stderr: AttachStderr && !Tty };
    return await this.#start(exec, wanted, size);
  }

  async startDetached(execId: string): Promise<void> {
    const { Tty } = this.#get(execId).spec;
    // A terminal needs a reader of its output even when nobody looks.
    const streams = await this.#start(this.#get(execId), { stdin: false, stdout: Tty, stderr: false });
    streams.stdout.resume();
  }

  async #start(
    exec: Exec,
    wanted: { stdin: boolean; stdout: boolean; stderr: boolean },
    size?: TerminalSize,
  ): Promise<ProcessStreams> {
    exec.container.assertRunning();
    if (exec.endedAt !== 0) {
      throw new SkeinError('Conflict', `Error: Exec command ${exec.id} has already run`);
    }
    if (exec.started) throw new SkeinError('Conflict', `Error: Exec command ${exec.id} is already running`);
    exec.started = true;
    const { tasks } = this.#context.containerd;
    const containerId = exec.container.id;
    const directory = join(this.#directoryOf(containerId), exec.id);
    let streams: ProcessStreams | undefined;
    try {
      const spec = await this.#processOf(exec, size);
      const fifos = await makeFifos(directory, wanted);
      streams = await openFifos(fifos);
      await tasks.exec({
        containerId,
        execId: exec.id,
        terminal: exec.spec.Tty,
        ...fifos,
        spec: { typeUrl: processType, value: Buffer.from(JSON.stringify(spec)) },
      });
      exec.container.publish(`exec_start: ${exec.spec.Cmd.join(' ')}`, { execID: exec.id });
      const { pid } = await exec.container.enter(() => tasks.start({ containerId, execId: exec.id }));
      exec.pid = pid;
      exec.running = true;
      exec.ended = this.#awaitEnd(exec, directory).catch((error: unknown) => {
        if (!this.#context.closed.aborted)
          this.#context.logger.error({ err: error }, 'the end of an exec was not seen');
        exec.exited.resolve();
      });
    } catch (error) {
      // A shim that was left in the middle finds no pipe to wait at, with all of its containers.
      await rm(directory, { recursive: true, force: true });
      streams?.stdin?.destroy();
      streams?.stdout.destroy();
      streams?.stderr?.destroy();
      await unlessNotFound(tasks.deleteProcess({ containerId, execId: exec.id })).catch(() => undefined);
      throw this.#failed(exec, fromContainerd(error));
    }
    streams.stdin?.once('finish', () => this.#closeInput(exec));
    return streams;
  }

  #failed(exec: Exec, error: SkeinError): SkeinError {
    exec.exitCode = startExitCode(error.message);
    exec.endedAt = Date.now();
    exec.exited.resolve();
    exec.container.publish('exec_die', { execID: exec.id, exitCode: String(exec.exitCode) });
    return error.message.includes('OCI runtime')
      ? new SkeinError('InvalidArgument', error.message, { cause: error })
      : error;
  }

  /** The shim keeps the pipe open for a daemon that comes back; the process sees the end only when it is told. */
  #closeInput(exec: Exec): void {
    this.#context.containerd.tasks
      .closeIO({ containerId: exec.container.id, execId: exec.id, stdin: true })
      .catch((error: unknown) => {
        if (!isNotFound(error)) this.#context.logger.debug({ err: error }, 'closing an exec’s input failed');
      });
  }

  async #awaitEnd(exec: Exec, directory: string): Promise<void> {
    const { containerd, closed } = this.#context;
    const process = { containerId: exec.container.id, execId: exec.id };
    const { exitCode } = await waitForExit(containerd, process, closed);
    exec.exitCode = exitCode;
    exec.running = false;
    exec.endedAt = Date.now();
    exec.exited.resolve();
    exec.container.publish('exec_die', { execID: exec.id, exitCode: String(exitCode) });
    await unlessNotFound(containerd.tasks.deleteProcess(process));
    await rm(directory, { recursive: true, force: true });
  }

  async #processOf(exec: Exec, size?: TerminalSize): Promise<OciProcess> {
    const { spec, container } = exec;
    const { config, hostConfig } = container.record;
    const { mounts } = await this.#context.containerd.snapshots.mounts({ snapshotter, key: container.id });
    const layers = layerDirectories(mounts);
    const files = {
      passwd: (await readRootFile(layers, '/etc/passwd')) ?? '',
      group: (await readRootFile(layers, '/etc/group')) ?? '',
    };
    const user = resolveUser(spec.User || config.User, files, hostConfig.GroupAdd);
    const bounding = spec.Privileged ? availableCapabilities() : capabilitiesOf(hostConfig);
    const held = user.uid === 0 ? bounding : [];
    return {
      terminal: spec.Tty,
      ...(size && { consoleSize: { height: size.rows, width: size.columns } }),
      user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
      args: spec.Cmd,
      env: environmentOf({ hostname: config.Hostname, tty: spec.Tty, env: [...config.Env, ...spec.Env] }),
      cwd: spec.WorkingDir || config.WorkingDir || '/',
      rlimits: resourceLimits(hostConfig.Ulimits),
      capabilities: { bounding, effective: held, permitted: held, inheritable: [] },
      noNewPrivileges: securityOptions(hostConfig.SecurityOpt).noNewPrivileges,
      oomScoreAdj: hostConfig.OomScoreAdj,
    };
  }

  async waitForExit(execId: string, signal: AbortSignal): Promise<void> {
    const exited = this.#execs.get(execId)?.exited;
    if (exited === undefined) return;
    const bound = AbortSignal.any([signal, AbortSignal.timeout(exitAfterOutputMs)]);
    if (bound.aborted) return;
    const aborted = new Promise<void>((resolve) => bound.addEventListener('abort', () => resolve(), { once: true }));
    await Promise.race([exited.promise, aborted]);
  }

  async resize(execId: string, size: TerminalSize): Promise<void> {
    const exec = this.#get(execId);
    if (!exec.running) throw new SkeinError('Conflict', `Exec ${execId} is not running`);
    const { columns: width, rows: height } = size;
    await this.#context.containerd.tasks.resizePty({ containerId: exec.container.id, execId: exec.id, width, height });
  }

  inspect(execId: string): ExecInspect {
    const exec = this.#get(execId);
    const [entrypoint = '', ...rest] = exec.spec.Cmd;
    const { Tty, Privileged, User } = exec.spec;
    return {
      ID: exec.id,
      Running: exec.running,
      ExitCode: exec.exitCode,
      ProcessConfig: {
        tty: Tty,
        entrypoint,
        arguments: rest,
        privileged: Privileged,
        ...(User !== '' && { user: User }),
      },
      OpenStdin: exec.spec.AttachStdin,
      OpenStderr: exec.spec.AttachStderr,
      OpenStdout: exec.spec.AttachStdout,
      CanRemove: exec.endedAt !== 0,
      ContainerID: exec.container.id,
      DetachKeys: exec.spec.DetachKeys ?? '',
      Pid: exec.pid,
    };
  }

  /** Runs a command to its end, or kills it after `timeoutMs`. */
  async probe(container: Container, command: string[], timeoutMs: number): Promise<ProbeResult> {
    const attach = { AttachStdin: false, AttachStdout: true, AttachStderr: true, Tty: false, Privileged: false };
    const id = await this.create(container.id, { Cmd: command, Env: [], User: '', WorkingDir: '', ...attach });
    const streams = await this.start(id);
    const exec = this.#get(id);
    let output = '';
    for (const stream of [streams.stdout, streams.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        if (output.length < maximumProbeOutput) output += chunk.toString('utf8');
      });
    }
    const timer = new AbortController();
    const timeout = sleep(Math.min(timeoutMs, longestTimeoutMs), true, { signal: timer.signal, ref: false }).catch(
      () => false,
    );
    const timedOut = await Promise.race([exec.ended.then(() => false), timeout]);
    timer.abort();
    if (timedOut) await this.#kill(exec);
    return { exitCode: exec.exitCode ?? -1, output, timedOut };
  }

  async #kill(exec: Exec): Promise<void> {
    const process = { containerId: exec.container.id, execId: exec.id };
    await unlessNotFound(this.#context.containerd.tasks.kill({ ...process, signal: signalNumber('KILL') }));
  }
}
