/**
 * One container's life. Its record on disk is written before and after each step that a crash could cut in two; `adopt`
 * puts right what such a crash left.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { longestTimeoutMs, SkeinError } from '../common/index.ts';
import { fromContainerd, isNotFound, unlessNotFound } from './containerd/client.ts';
import type { Context } from './context.ts';
import { Entering } from './entering.ts';
import { Status } from './gen/task_types_pb.js';
import { HealthMonitor } from './health.ts';
import { resourcesOf } from './oci/spec.ts';
import { writeEtcFiles } from './prepare.ts';
import { deleteTask, type Exit, waitForExit } from './process/exit.ts';
import { Lock } from './process/lock.ts';
import { signalNumber } from './signals.ts';
import { startFailure } from './start-error.ts';
import type { ContainerRecord } from './state.ts';
import { ContainerStreams } from './streams.ts';
import { createTask, findTask } from './task.ts';
import { formatTime, nowText } from './time.ts';
import type {
  ContainerState,
  HostConfig,
  LogEntry,
  LogOptions,
  ProcessStreams,
  TerminalSize,
  WaitCondition,
} from './types.ts';
import { Waiters } from './waiters.ts';

/** Docker's default grace before SIGKILL, in seconds. */
const defaultStopTimeout = 10;
/** How long after SIGKILL a process may take to end, in milliseconds. */
const killTimeoutMs = 10_000;
/** How long an exit may take to be heard of after the process could not be signalled, in milliseconds. */
const exitTimeoutMs = 2_000;
const resourcesType = 'types.containerd.io/opencontainers/runtime-spec/1/LinuxResources';
const never = new AbortController().signal;

/** Runs a health probe in the container: the exec room gives it. */
export type Probe = (
  command: string[],
  timeoutMs: number,
) => Promise<{ exitCode: number; output: string; timedOut: boolean }>;

export class Container {
  readonly record: ContainerRecord;
  readonly #context: Context;
  readonly #probe: Probe;
  readonly #lock = new Lock();
  readonly #waiters = new Waiters();
  readonly #streams: ContainerStreams;
  readonly #entering: Entering;
  #health: HealthMonitor | undefined;
  #isWaitingForStop = false;
  #removed = false;
  /** Settles when the end of the present run has been recorded. */
  #ended: Promise<void> = Promise.resolve();

  constructor(record: ContainerRecord, context: Context, probe: Probe) {
    this.record = record;
    this.#context = context;
    this.#probe = probe;
    this.#streams = new ContainerStreams(record, context);
    this.#entering = new Entering(record.id);
  }

  get id(): string {
    return this.record.id;
  }

  get state(): ContainerState {
    return this.record.state;
  }

  get logPath(): string {
    return this.#streams.logPath;
  }

  /** @throws SkeinError Conflict `Container X is not running`. */
  assertRunning(): void {
    if (!this.state.Running) throw new SkeinError('Conflict', `Container ${this.id} is not running`);
  }

  /** Publishes one of Docker's container events: labels, image and name go with it. */
  publish(action: string, attributes: Record<string, string> = {}): void {
    const { config, name, id } = this.record;
    this.#context.events.publish({
      type: 'container',
      action,
      actor: { id, attributes: { ...config.Labels, image: config.Image, name, ...attributes } },
      scope: 'local',
    });
  }

  async #save(change: Partial<ContainerState> = {}): Promise<void> {
    Object.assign(this.record.state, change);
    await this.#context.store.save(this.record);
  }

  start(): Promise<void> {
    return this.#lock.run(async () => {
      if (this.state.Paused) {
        throw new SkeinError('Conflict', 'cannot start a paused container, try unpause instead');
      }
      if (this.state.Running) throw new SkeinError('NotModified', `Container ${this.id} is already running`);
      await this.#ended;
      await this.#start();
    });
  }

  async #start(): Promise<void> {
    const { containerd } = this.#context;
    await deleteTask(this.#context, this.id);
    try {
      const fifos = await this.#streams.open();
      await createTask(this.#context, this.record, fifos, () => this.#save());
      const exit = waitForExit(containerd, { containerId: this.id, execId: '' }, this.#context.closed);
      exit.catch(() => undefined);
      const { pid } = await containerd.tasks.start({ containerId: this.id });
      await this.#running(pid, nowText(), exit);
      this.#streams.started();
      this.publish('start');
    } catch (error) {
      // The start's own error is what the user gets; what is left is taken away by the next start or removal.
      const leave = (cause: unknown): void =>
        this.#context.logger.warn({ err: cause, id: this.id }, 'a failed start left something');
      await this.#streams.abandon().catch(leave);
      await unlessNotFound(
        containerd.tasks.kill({ containerId: this.id, signal: signalNumber('KILL'), all: true }),
      ).catch(leave);
      await deleteTask(this.#context, this.id).catch(leave);
      delete this.record.starting;
      const failure = startFailure(fromContainerd(error));
      await this.#save({ ExitCode: failure.exitCode, Error: failure.error.message });
      throw failure.error;
    }
  }

  /** @param health of this run, as it was known before: a daemon that comes back does not make a container unhealthy. */
  async #running(
    pid: number,
    startedAt: string,
    exit: Promise<Exit>,
    health?: ContainerState['Health'],
  ): Promise<void> {
    this.#ended = this.#recordExit(exit).catch((error: unknown) => {
      if (!this.#context.closed.aborted)
        this.#context.logger.error({ err: error, id: this.id }, 'an exit was not recorded');
    });
    const running = { Status: 'running', Running: true, Dead: false, Pid: pid, ExitCode: 0, Error: '' } as const;
    delete this.record.starting;
    delete this.state.Health;
    await this.#save({ ...running, OOMKilled: false, Paused: false, Restarting: false, StartedAt: startedAt });
    this.#health = HealthMonitor.start(this.record.config.Healthcheck, {
      before: health,
      startedMs: Date.parse(startedAt),
      probe: this.#probe,
      paused: () => this.state.Paused,
      changed: async (health, statusChanged) => {
        if (!this.state.Running) return;
        await this.#save({ Health: health });
        if (statusChanged) this.publish(`health_status: ${health.Status}`);
      },
      logger: this.#context.logger,
    });
  }

  async #recordExit(waiting: Promise<Exit>): Promise<void> {
    const exit = await waiting;
    this.#health?.stop();
    await this.#streams.finish();
    await deleteTask(this.#context, this.id).catch((error: unknown) => {
      this.#context.logger.warn({ err: error, id: this.id }, 'a task was not deleted; it will be with the next start');
    });
    await this.#save({
      Status: 'exited',
      Running: false,
      Paused: false,
      Pid: 0,
      ExitCode: exit.exitCode,
      FinishedAt: formatTime(exit.exitedAt),
    });
    this.publish('die', { exitCode: String(exit.exitCode) });
    this.#waiters.exited(exit.exitCode);
  }

  /**
   * Finds the container's task after a restart of the daemon: takes up its pipes and its exit, or records the exit that
   * happened meanwhile.
   * @param deadline milliseconds since the epoch: until then, a shim that does not answer is asked again.
   */
  async adopt(deadline: number): Promise<void> {
    const { containerd, closed } = this.#context;
    const process = await findTask(this.#context, this.record, deadline);
    if (!process) {
      if (this.state.Running)
        await this.#recordExit(Promise.resolve({ exitCode: 255, exitedAt: BigInt(Date.now()) * 1_000_000n }));
      return;
    }
    if (process.status === Status.CREATED) {
      await deleteTask(this.#context, this.id);
      return;
    }
    const exit = waitForExit(containerd, { containerId: this.id, execId: '' }, closed);
    if (process.status === Status.STOPPED) {
      await this.#recordExit(exit); // The shim has closed the pipes: there is nothing to read.
      return;
    }
    const answers = process.status !== Status.UNKNOWN;
    const pid = answers ? process.pid : this.state.Pid;
    await this.#streams.reopen(answers ? process : undefined);
    const isKnown = this.state.Running && this.state.Pid === pid;
    const startedAt = this.state.Running ? this.state.StartedAt : nowText();
    await this.#running(pid, startedAt, exit, isKnown ? this.state.Health : undefined);
    if (process.status === Status.PAUSED) await this.#save({ Status: 'paused', Paused: true });
  }

  async stop(options: { timeout?: number; signal?: string } = {}): Promise<void> {
    await this.#lock.run(() => this.#stop(options));
  }

  async #stop(options: { timeout?: number; signal?: string }): Promise<void> {
    if (!this.state.Running) throw new SkeinError('NotModified', `Container ${this.id} is already stopped`);
    const signal = options.signal || this.record.config.StopSignal || 'SIGTERM';
    const seconds = options.timeout ?? this.record.config.StopTimeout ?? defaultStopTimeout;
    if (this.state.Paused) await this.#setPaused(false);
    await this.#signal(signalNumber(signal));
    this.#isWaitingForStop = true;
    const hasEnded = await this.#endsWithin(seconds < 0 ? undefined : seconds * 1000).finally(() => {
      this.#isWaitingForStop = false;
    });
    if (!hasEnded) {
      await this.#signal(signalNumber('KILL'));
      await this.#mustEnd();
    }
    this.publish('stop');
  }

  /** @param milliseconds undefined: for ever. */
  async #endsWithin(milliseconds: number | undefined): Promise<boolean> {
    if (milliseconds === undefined) {
      await this.#ended;
      return true;
    }
    const timer = new AbortController();
    const signal = AbortSignal.any([timer.signal, this.#context.closed]);
    const timeout = sleep(Math.min(milliseconds, longestTimeoutMs), false, { signal });
    try {
      return await Promise.race([this.#ended.then(() => true), timeout]);
    } finally {
      timer.abort();
      timeout.catch(() => undefined);
    }
  }

  async #mustEnd(): Promise<void> {
    if (await this.#endsWithin(killTimeoutMs)) return;
    throw new SkeinError(
      'DeadlineExceeded',
      `Container ${this.id} did not end within ${killTimeoutMs / 1000} s of SIGKILL`,
    );
  }

  async #signal(signal: number): Promise<void> {
    try {
      await this.#context.containerd.tasks.kill({ containerId: this.id, signal });
    } catch (error) {
      // The process has finished by itself and its exit is on its way, or its shim is just going ("ttrpc: closed").
      if (!isNotFound(error) && !(await this.#endsWithin(exitTimeoutMs))) throw fromContainerd(error);
    }
    this.publish('kill', { signal: String(signal) });
  }

  async kill(signal: string): Promise<void> {
    const number = signalNumber(signal || 'KILL');
    if (!this.state.Running) {
      throw new SkeinError('Conflict', `Cannot kill container: ${this.id}: Container ${this.id} is not running`);
    }
    const isKill = number === signalNumber('KILL');
    if (this.state.Paused && !isKill) {
      const hint = 'Unpause the container before stopping or killing';
      throw new SkeinError('Conflict', `Cannot kill container: ${this.id}: Container ${this.id} is paused. ${hint}`);
    }
    await this.#signal(number);
    if (this.state.Paused) await this.#setPaused(false);
    if (isKill) await this.#mustEnd();
  }

  restart(options: { timeout?: number } = {}): Promise<void> {
    return this.#lock.run(async () => {
      if (this.state.Running) await this.#stop(options);
      await this.#ended;
      await this.#start();
      this.publish('restart');
    });
  }

  pause(paused: boolean): Promise<void> {
    return this.#lock.run(async () => {
      this.assertRunning();
      if (this.state.Paused === paused) {
        throw new SkeinError('Conflict', `Container ${this.id} is ${paused ? 'already' : 'not'} paused`);
      }
      await this.#setPaused(paused);
    });
  }

  /** Puts a further process into the container. @throws SkeinError Conflict of a paused container. */
  enter<T>(action: () => Promise<T>): Promise<T> {
    return this.#entering.enter(this.state.Paused, action);
  }

  async #setPaused(paused: boolean): Promise<void> {
    try {
      const [{ tasks }, task] = [this.#context.containerd, { containerId: this.id }];
      await (paused ? this.#entering.freeze(() => tasks.pause(task)) : tasks.resume(task));
    } catch (error) {
      if (this.state.Running) throw fromContainerd(error);
    }
    if (!this.state.Running) return;
    await this.#save({ Status: paused ? 'paused' : 'running', Paused: paused });
    this.publish(paused ? 'pause' : 'unpause');
  }

  /** For the next start; of a running container, the files under its bind mounts change at once. */
  setNetwork(network: { networkNamespace: string; hosts: string; resolvConf: string }): Promise<void> {
    return this.#lock.run(async () => {
      const { hosts, resolvConf, networkNamespace } = network;
      const directory = this.#context.store.directoryOf(this.id);
      await writeEtcFiles(directory, { hostname: this.record.config.Hostname, hosts, resolvConf });
      if (!this.state.Running) this.record.networkNamespace = networkNamespace;
      await this.#save();
    });
  }

  setRestarting(restarting: boolean, count: number): Promise<void> {
    return this.#lock.run(async () => {
      this.record.restartCount = count;
      if (this.state.Running || this.state.Status === 'created') return this.#save();
      return this.#save({ Restarting: restarting, Status: restarting ? 'restarting' : 'exited' });
    });
  }

  /** @throws SkeinError of the runtime when a limit cannot be set; then nothing changes. */
  update(change: Partial<HostConfig>): Promise<void> {
    return this.#lock.run(async () => {
      const next = { ...this.record.hostConfig, ...change };
      if (this.state.Running) {
        const limits = resourcesOf(next, this.#context);
        const resources = { typeUrl: resourcesType, value: Buffer.from(JSON.stringify(limits)) };
        await this.#context.containerd.tasks.update({ containerId: this.id, resources }).catch((error: unknown) => {
          throw fromContainerd(error);
        });
      }
      this.record.hostConfig = next;
      await this.#save();
      this.publish('update');
    });
  }

  /** Does something that needs the container to stay stopped, if it is; a running one is not held up by it. */
  async withState<T>(action: (state: ContainerState) => Promise<T>): Promise<T> {
    if (this.state.Running) return await action(this.state);
    return await this.#lock.run(() => action(this.state));
  }

  rename(name: string): Promise<void> {
    return this.#lock.run(async () => {
      if (this.#removed) throw new SkeinError('NotFound', `No such container: ${this.id}`);
      const oldName = `/${this.record.name}`;
      this.record.name = name;
      await this.#save();
      this.publish('rename', { oldName });
    });
  }

  /** Ends the container's process, if it runs and that is allowed, and takes the last resources. */
  async remove(force: boolean, release: () => Promise<void>): Promise<void> {
    // A stop under way would hold it up as long as it gives the process time.
    if (force && this.#isWaitingForStop) await this.#signal(signalNumber('KILL'));
    await this.#lock.run(async () => {
      if (this.#removed) throw new SkeinError('NotFound', `No such container: ${this.id}`);
      if (this.state.Running) {
        if (!force) throw this.#cannotRemove();
        await this.#signal(signalNumber('KILL'));
        if (this.state.Paused) await this.#setPaused(false);
        await this.#mustEnd();
      }
      await this.#ended;
      await this.#streams.closeLog();
      this.record.phase = 'removing';
      await this.#save({ Status: 'removing' });
      await release();
      this.#removed = true;
      this.#streams.endEarlyClients();
      this.publish('destroy');
      this.#waiters.removed(this.state.ExitCode);
    });
  }

  #cannotRemove(): SkeinError {
    const [what, remedy] = this.state.Paused
      ? ['a paused', 'Unpause and then stop the container before attempting removal or force remove']
      : ['a running', 'Stop the container before attempting removal or force remove'];
    return new SkeinError('Conflict', `You cannot remove ${what} container ${this.id}. ${remedy}`);
  }

  async wait(condition: WaitCondition, signal: AbortSignal = never): Promise<{ exitCode: number; error: string }> {
    if (condition === 'not-running' && !this.state.Running)
      return { exitCode: this.state.ExitCode, error: this.state.Error };
    return await this.#waiters.wait(condition, AbortSignal.any([signal, this.#context.closed]));
  }

  logs(options: LogOptions): AsyncIterable<LogEntry> {
    return this.#streams.logs(options);
  }

  /** Of a container that does not run: the streams of its next run, as `docker start --attach` wants them. */
  attach(options: { stdin: boolean }): ProcessStreams {
    return this.#streams.attach(options);
  }

  async resize(size: TerminalSize): Promise<void> {
    this.assertRunning();
    const { columns: width, rows: height } = size;
    await this.#context.containerd.tasks.resizePty({ containerId: this.id, execId: '', width, height });
    this.publish('resize', { height: String(height), width: String(width) });
  }

  async recordOutOfMemory(): Promise<void> {
    // The exit may have been recorded before; the next start clears it.
    if (this.state.Status === 'created' || this.record.phase === 'removing') return;
    await this.#save({ OOMKilled: true });
    this.publish('oom');
  }

  /** Lets go of pipes and timers; the container runs on. */
  async release(): Promise<void> {
    this.#health?.stop();
    await this.#streams.release();
    await this.#ended;
    await this.#streams.closeLog();
  }
}
