/** All containers of this host: creation, removal, and the return of those that outlived the daemon. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fromBinary } from '@bufbuild/protobuf';
import { Container } from './container.ts';
import { RootFiles } from './container-files.ts';
import { containerdNamespace, noTimeout, snapshotter, unlessNotFound } from './containerd/client.ts';
import { endStrayShims } from './containerd/stray-shims.ts';
import { type ManagedContainerd, stopManagedContainerd } from './containerd/supervisor.ts';
import type { Context } from './context.ts';
import { createContainer, releaseContainer, validateCreate } from './creation.ts';
import { ContainerExecs } from './execs.ts';
import { TaskOOMSchema } from './gen/task_events_pb.js';
import { processTable, removeEmptyCgroups, runcVersion } from './host.ts';
import { endStrayLeases } from './images/content.ts';
import { ImageStore } from './images/images.ts';
import { chainIds } from './images/manifest.ts';
import { chainSizes } from './images/sizes.ts';
import { inspectContainer } from './inspect.ts';
import { commandOf, mergeConfig } from './oci/process.ts';
import { holdPipes } from './process/fifos.ts';
import { Register } from './register.ts';
import type { ContainerRecord } from './state.ts';
import { readStats } from './stats.ts';
import type {
  ContainerCreate,
  ContainerInspect,
  ContainerRuntime,
  ContainerStats,
  HostConfig,
  LogEntry,
  LogOptions,
  ProcessStreams,
  RuntimeInfo,
  TerminalSize,
  WaitCondition,
} from './types.ts';
import { VolumeStore } from './volume-store.ts';

/** Before containerd's events are subscribed to again. */
const reconnectMs = 500;
/** How long the adoption of all containers waits for shims that do not answer, in milliseconds. */
const adoptionMs = 15_000;

export class Runtime implements ContainerRuntime {
  readonly images: ImageStore;
  readonly execs: ContainerExecs;
  readonly volumes: VolumeStore;
  readonly files: RootFiles;
  readonly #context: Context;
  readonly #close: () => Promise<void>;
  readonly #managed: ManagedContainerd | undefined;
  readonly #register = new Register();

  constructor(context: Context, close: () => Promise<void>, managed: ManagedContainerd | undefined) {
    this.#context = context;
    this.#close = close;
    this.#managed = managed;
    this.images = new ImageStore(context.containerd, context.events, (imageId) => this.#usersOf(imageId));
    this.execs = new ContainerExecs(context, (id) => this.#register.get(id));
    this.files = new RootFiles(context, (id) => this.#register.get(id));
    this.volumes = new VolumeStore(context.volumeDirectory, context.events, (name) => this.#volumeUsers(name));
  }

  #usersOf(imageId: string): { id: string; running: boolean }[] {
    const users = this.#register.all().filter(({ record }) => record.imageId === imageId);
    return users.map(({ id, state }) => ({ id, running: state.Running }));
  }

  #volumeUsers(name: string): string[] {
    const containers = this.#register.all();
    return containers
      .filter(({ record }) => record.mountPoints.some((mount) => mount.Type === 'volume' && mount.Name === name))
      .map(({ id }) => id);
  }

  /** Loads the records and makes them and containerd agree. @param address containerd's socket. */
  async adopt(address: string): Promise<void> {
    const { containerd, store, logger, runDirectory, closed } = this.#context;
    const records = await store.load(logger);
    const starting = records.filter((record) => record.starting).map(({ id }) => join(runDirectory, id));
    const held = await holdPipes(starting);
    closed.addEventListener('abort', () => held[Symbol.dispose](), { once: true });
    await endStrayLeases(containerd);
    await endStrayShims(containerd, { address, containers: records, logger });
    const containers = records.filter(({ phase }) => phase === 'ready').map((record) => this.#add(record));
    // First, as a shim that an exec holds up answers for none of its containers.
    for (const { id } of containers) await this.execs.adopt(id);
    for (const record of records) if (record.phase !== 'ready') await releaseContainer(this.#context, record);
    const deadline = Date.now() + adoptionMs;
    for (const container of containers) {
      await container.adopt(deadline).catch((error: unknown) => {
        logger.error({ err: error, id: container.id }, 'a container could not be taken up');
      });
    }
    this.#watchOutOfMemory().catch((error: unknown) => {
      if (!this.#context.closed.aborted) this.#context.logger.error({ err: error }, 'the watch on events ended');
    });
  }

  find = (reference: string): string => this.#register.find(reference);

  #add(record: ContainerRecord): Container {
    const container: Container = new Container(record, this.#context, (command, timeoutMs) =>
      this.execs.probe(container, command, timeoutMs),
    );
    this.#register.add(container);
    return container;
  }

  /** Exits are awaited process by process; only the kernel's out-of-memory kills come as events. */
  async #watchOutOfMemory(): Promise<void> {
    const { containerd, closed } = this.#context;
    const filters = [`namespace==${containerdNamespace},topic=="/tasks/oom"`];
    while (!closed.aborted) {
      try {
        for await (const { event } of containerd.events.subscribe({ filters }, { ...noTimeout, signal: closed })) {
          if (!event) continue;
          const { containerId } = fromBinary(TaskOOMSchema, event.value);
          if (this.#register.has(containerId)) await this.#register.get(containerId).recordOutOfMemory();
        }
      } catch (error) {
        closed.throwIfAborted();
        this.#context.logger.debug({ err: error }, 'containerd’s events were cut; subscribing again');
      }
      await sleep(reconnectMs, undefined, { signal: closed, ref: false });
    }
  }

  async create(spec: ContainerCreate): Promise<void> {
    validateCreate(spec);
    const imageId = await this.images.find(spec.config.Image);
    const image = await this.images.get(imageId);
    const config = mergeConfig(
      { ...spec.config, Hostname: spec.config.Hostname || spec.id.slice(0, 12) },
      image.config.config ?? {},
    );
    commandOf(config);
    this.#register.claimName(spec.name, spec.id);
    try {
      const record = await createContainer(this.#context, spec, config, { id: imageId, topLayer: image.topLayer });
      this.#add(record).publish('create');
    } catch (error) {
      this.#register.freeName(spec.name);
      throw error;
    }
  }

  start = (id: string): Promise<void> => this.#register.get(id).start();
  stop = (id: string, options?: { timeout?: number; signal?: string }): Promise<void> =>
    this.#register.get(id).stop(options);
  kill = (id: string, signal: string): Promise<void> => this.#register.get(id).kill(signal);
  restart = (id: string, options?: { timeout?: number }): Promise<void> => this.#register.get(id).restart(options);
  pause = (id: string): Promise<void> => this.#register.get(id).pause(true);
  unpause = (id: string): Promise<void> => this.#register.get(id).pause(false);
  resize = (id: string, size: TerminalSize): Promise<void> => this.#register.get(id).resize(size);
  logs = (id: string, options: LogOptions): AsyncIterable<LogEntry> => this.#register.get(id).logs(options);

  async rename(id: string, name: string): Promise<void> {
    const container = this.#register.get(id);
    const oldName = container.record.name;
    const newName = name.replace(/^\//, '');
    this.#register.claimName(newName, id);
    try {
      await container.rename(newName);
    } catch (error) {
      this.#register.freeName(newName);
      throw error;
    }
    this.#register.freeName(oldName);
  }

  setNetwork = (id: string, network: Parameters<ContainerRuntime['setNetwork']>[1]): Promise<void> =>
    this.#register.get(id).setNetwork(network);
  setRestarting = (id: string, restarting: boolean, count: number): Promise<void> =>
    this.#register.get(id).setRestarting(restarting, count);
  update = (id: string, change: Partial<HostConfig>): Promise<void> => this.#register.get(id).update(change);

  async remove(id: string, options: { force: boolean; volumes?: boolean }): Promise<void> {
    const container = this.#register.get(id);
    await container.remove(options.force, async () => {
      if (options.volumes === false) container.record.anonymousVolumes = [];
      await releaseContainer(this.#context, container.record);
      this.#register.delete(container);
      this.execs.forget(id);
    });
  }

  async inspect(id: string, options: { size?: boolean } = {}): Promise<ContainerInspect> {
    const container = this.#register.get(id);
    const inspect = this.#inspect(container, await this.#graphDriver(id));
    if (!options.size) return inspect;
    const { containerd } = this.#context;
    const usage = await unlessNotFound(containerd.snapshots.usage({ snapshotter, key: id }));
    const { config } = await this.images.get(container.record.imageId);
    const layers = await chainSizes(containerd, chainIds(config.rootfs.diff_ids));
    const SizeRw = Number(usage?.size ?? 0n);
    return { ...inspect, SizeRw, SizeRootFs: layers.reduce((sum, size) => sum + size, SizeRw) };
  }

  async #graphDriver(id: string): Promise<Record<string, string> | null> {
    const { mounts } = await this.#context.containerd.snapshots.mounts({ snapshotter, key: id });
    const option = (name: string): string =>
      mounts[0]?.options.find((text) => text.startsWith(`${name}=`))?.slice(name.length + 1) ?? '';
    const UpperDir = option('upperdir');
    return { LowerDir: option('lowerdir'), MergedDir: '', UpperDir, WorkDir: option('workdir') };
  }

  #inspect(container: Container, graphDriver: Record<string, string> | null): ContainerInspect {
    return inspectContainer(container, {
      directory: this.#context.store.directoryOf(container.id),
      execIds: this.execs.idsOf(container.id),
      cgroupVersion: this.#context.cgroupVersion,
      graphDriver,
    });
  }

  async list(): Promise<ContainerInspect[]> {
    const containers = this.#register.all().map((container) => this.#inspect(container, null));
    return containers.sort((a, b) => b.Created.localeCompare(a.Created));
  }

  async wait(id: string, condition: WaitCondition, signal?: AbortSignal): Promise<{ exitCode: number; error: string }> {
    return await this.#register.get(id).wait(condition, signal);
  }

  async attach(id: string, options: { stdin: boolean }): Promise<ProcessStreams> {
    return this.#register.get(id).attach(options);
  }

  async stats(id: string): Promise<ContainerStats | undefined> {
    const { state } = this.#register.get(id);
    if (!state.Running) return undefined;
    const { cgroupParent, cgroupVersion: version } = this.#context;
    return await readStats(join(cgroupParent, id), version, state.Pid);
  }

  /** The host's `ps` for the container's processes, as Docker's. */
  async top(id: string, psArguments: string): Promise<{ Titles: string[]; Processes: string[][] }> {
    const container = this.#register.get(id);
    container.assertRunning();
    const { processes } = await this.#context.containerd.tasks.listPids({ containerId: id });
    return await processTable(
      psArguments,
      processes.map(({ pid }) => pid),
    );
  }

  async info(): Promise<RuntimeInfo> {
    const version = await this.#context.containerd.version.version({});
    const states = this.#register.all().map(({ state }) => state);
    return {
      containerdVersion: version.version,
      containerdCommit: version.revision,
      runcVersion: await runcVersion(),
      snapshotter,
      containers: {
        total: states.length,
        running: states.filter(({ Running, Paused }) => Running && !Paused).length,
        paused: states.filter(({ Paused }) => Paused).length,
        stopped: states.filter(({ Running }) => !Running).length,
      },
      images: (await this.images.list({})).length,
      cgroupDriver: 'cgroupfs',
      cgroupVersion: this.#context.cgroupVersion,
      securityOptions: ['name=seccomp,profile=default'],
    };
  }

  /** Lets go of everything; containers run on. A containerd of our own stays as long as it has running containers. */
  async [Symbol.asyncDispose](): Promise<void> {
    const running = this.#register.all().some(({ state }) => state.Running);
    await this.#close();
    await Promise.all(this.#register.all().map((container) => container.release()));
    this.#context.containerd[Symbol.dispose]();
    if (running) return;
    await removeEmptyCgroups(this.#context.cgroupParent, this.#context.cgroupVersion);
    if (this.#managed) await stopManagedContainerd(this.#managed);
  }
}
