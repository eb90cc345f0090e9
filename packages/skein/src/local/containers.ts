/** Plain containers: their records, their start and end, and what their restart policy does then. */
import { join } from 'node:path';
import { NetworkNamespace } from '@skein/netlink';
import {
  type EngineEvent,
  type EventBus,
  errorText,
  type Logger,
  madeUpName,
  newHexId,
  SkeinError,
} from '../common/index.ts';
import type { ContainerInspect, ContainerRuntime, RestartPolicy } from '../container/types.ts';
import type { Discovery, ResolvConf } from '../discovery/index.ts';
import type { OverlayDriver } from '../overlay/types.ts';
import { AttachmentSweep } from './attachment-sweep.ts';
import { Bridges } from './bridges.ts';
import { Connections, networksOf } from './connections.ts';

import { ContainerNetworking, type NetworkingParts } from './networking.ts';
import type { NetworkMode, PlainRecord } from './record.ts';
import { Register } from './register.ts';
import { restarts } from './restart.ts';
import { Restarter } from './restarter.ts';
import { hostConfigOf, Starter } from './starter.ts';
import type {
  BridgeEndpoint,
  BridgeNetwork,
  BridgeNetworkCreate,
  EndpointRequest,
  LocalContainers,
  NetworkAttacher,
  PlainContainerCreate,
  PlainNetworking,
} from './types.ts';

export interface LocalContainersOptions {
  /** On disk: networks and the containers' places on them. */
  readonly stateDirectory: string;
  readonly runtime: ContainerRuntime;
  readonly overlay: OverlayDriver;
  readonly discovery: Discovery;
  readonly balancer: NetworkingParts['balancer'];
  readonly attacher: NetworkAttacher;
  readonly hostname: string;
  /** The ID of Docker's default network `bridge`. */
  readonly defaultNetworkId: string;
  /** The host's resolver settings, read anew for each container as they may change. */
  readonly hostResolver: () => ResolvConf;
  readonly events: EventBus;
  readonly logger: Logger;
}

/** @returns plain containers of this host; `adopt` takes up those that are there. */
export function openLocalContainers(options: LocalContainersOptions): LocalContainers {
  return new PlainContainers(options);
}

class PlainContainers implements LocalContainers {
  readonly #options: LocalContainersOptions;
  readonly #host = NetworkNamespace.current();
  readonly #bridges: Bridges;
  readonly #networking: ContainerNetworking;
  readonly #register: Register;
  readonly #starter: Starter;
  readonly #restarter: Restarter;
  readonly #connections: Connections;
  readonly #sweep: AttachmentSweep;
  readonly #unsubscribe: () => void;
  /** Containers that end to start again: `--rm` does not take them. BOUNDED by the calls under way. */
  readonly #kept = new Set<string>();
  #closed = false;

  constructor(options: LocalContainersOptions) {
    this.#options = options;
    const { stateDirectory, defaultNetworkId, events, logger } = options;
    this.#bridges = new Bridges(this.#host, join(stateDirectory, 'networks'), defaultNetworkId, events, logger);
    const register = new Register(join(stateDirectory, 'containers'), logger);
    const networking = new ContainerNetworking({
      ...options,
      host: this.#host,
      bridges: this.#bridges,
      records: () => register.all(),
      save: (record) => register.save(record),
    });
    this.#register = register;
    this.#networking = networking;
    this.#starter = new Starter({ ...options, register, networking, forget: (record) => this.#forget(record) });
    this.#restarter = new Restarter({ ...options, register, start: (record) => this.#starter.start(record) });
    this.#connections = new Connections({ register, networking, starter: this.#starter, bridges: this.#bridges });
    this.#unsubscribe = events.subscribe((event) => this.#take(event));
    this.#sweep = new AttachmentSweep({
      held: () => options.attacher.held(),
      records: () => register.all(),
      giveBack: (attachmentId) => networking.giveBack(attachmentId),
    });
  }

  async adopt(): Promise<void> {
    const { runtime, logger } = this.#options;
    this.#bridges.ensureAll();
    const containers = new Map((await runtime.list()).map((container) => [container.Id, container]));
    this.#register.load();
    for (const record of this.#register.all()) {
      const container = containers.get(record.containerId);
      try {
        await this.#adoptOne(record, container);
      } catch (error) {
        logger.error({ container: record.name, error: errorText(error) }, 'a container could not be taken up');
      }
    }
    this.#networking.applyFirewall();
  }

  async #adoptOne(record: PlainRecord, container: ContainerInspect | undefined): Promise<void> {
    if (container === undefined) {
      await this.#networking.down(record);
      this.#forget(record);
      return;
    }
    const hostConfig = hostConfigOf(container);
    if (container.State.Running) {
      if (record.mode.kind === 'own') await this.#networking.resume(record, hostConfig);
      return;
    }
    await this.#networking.down(record);
    if (hostConfig.AutoRemove && container.State.Status !== 'created') {
      await this.#removeNow(record, { force: true, volumes: true });
      return;
    }
    const policy = hostConfig.RestartPolicy;
    const ranBefore = container.State.Status !== 'created';
    if (ranBefore && restarts(policy, container.State.ExitCode, container.RestartCount, record.stopped, true)) {
      await this.#restarter.schedule(record, container.RestartCount);
    } else if (container.State.Restarting) {
      await this.#options.runtime.setRestarting(record.containerId, false, container.RestartCount);
    }
  }

  isPlain(id: string): boolean {
    return this.#register.find(id) !== undefined;
  }

  async create(request: PlainContainerCreate): Promise<string> {
    const { runtime } = this.#options;
    const id = newHexId();
    const mode = this.#modeOf(request.hostConfig.NetworkMode ?? 'default');
    const networks = networksOf(mode, request);
    const hostname = request.config.Hostname || this.#hostnameOf(mode, request.hostConfig.UTSMode, id);
    const name = request.name || madeUpName((candidate) => this.#isTaken(candidate));
    const record: PlainRecord = {
      containerId: id,
      name: name.replace(/^\//, ''),
      hostname,
      mode,
      networks: [],
      ports: [],
      up: false,
      stopped: false,
    };
    for (const [target, wanted] of networks) record.networks.push(this.#connections.placeOf(record, target, wanted));
    this.#register.add(record);
    try {
      await runtime.create({
        id,
        name: record.name,
        config: { ...request.config, Hostname: hostname },
        hostConfig: request.hostConfig,
        networkNamespace: '',
        hosts: '',
        resolvConf: '',
      });
    } catch (error) {
      this.#forget(record);
      throw error;
    }
    return id;
  }

  start(id: string): Promise<void> {
    const record = this.#register.get(id);
    return this.#register.inOrder(id, async () => {
      this.#restarter.cancel(id);
      record.stopped = false;
      await this.#starter.start(record);
    });
  }

  stop(id: string, options: { timeout?: number; signal?: string }): Promise<void> {
    const record = this.#register.get(id);
    record.stopped = true;
    this.#register.save(record);
    return this.#unlessRestarting(record, () => this.#options.runtime.stop(id, options));
  }

  kill(id: string, signal: string): Promise<void> {
    const record = this.#register.get(id);
    // As with docker, a container that its user kills is not started again.
    record.stopped ||= ['9', 'KILL', 'SIGKILL', '15', 'TERM', 'SIGTERM', ''].includes(signal.toUpperCase());
    this.#register.save(record);
    return this.#unlessRestarting(record, () => this.#options.runtime.kill(id, signal));
  }

  async restart(id: string, options: { timeout?: number; signal?: string }): Promise<void> {
    const record = this.#register.get(id);
    const { runtime, events } = this.#options;
    record.stopped = true;
    this.#kept.add(id);
    try {
      await this.#unlessRestarting(record, async () => {
        const { State } = await runtime.inspect(id);
        if (State.Running) await runtime.stop(id, options);
      });
      await this.#register.settled(id);
    } finally {
      this.#kept.delete(id);
    }
    await this.start(id);
    const { Labels, Image } = (await runtime.inspect(id)).Config;
    const actor = { id, attributes: { ...Labels, image: Image, name: record.name } };
    events.publish({ type: 'container', action: 'restart', actor, scope: 'local' });
  }

  async rename(id: string, name: string): Promise<void> {
    const record = this.#register.get(id);
    await this.#register.inOrder(id, async () => {
      await this.#options.runtime.rename(id, name);
      record.name = name.replace(/^\//, '');
      this.#register.save(record);
      if (record.up) await this.#starter.networkUp(record);
    });
  }

  async remove(id: string, options: { force: boolean; volumes: boolean }): Promise<void> {
    const record = this.#register.get(id);
    this.#restarter.cancel(id);
    if (options.force) record.stopped = true;
    await this.#removeNow(record, options);
  }

  async setRestartPolicy(id: string, policy: RestartPolicy): Promise<void> {
    await this.#options.runtime.update(id, { RestartPolicy: policy });
    if (policy.Name === '' || policy.Name === 'no') this.#restarter.cancel(id);
  }

  networking(id: string): PlainNetworking | undefined {
    const record = this.#register.find(id);
    return record && this.#networking.view(record);
  }

  connect(id: string, network: string, request: EndpointRequest): Promise<void> {
    return this.#connections.connect(this.#register.get(id), network, request);
  }

  disconnect(id: string, network: string): Promise<void> {
    return this.#connections.disconnect(this.#register.get(id), network);
  }

  bridges(): readonly BridgeNetwork[] {
    return this.#bridges.list();
  }

  bridgeEndpoints(networkId: string): { containerId: string; name: string; endpoint: BridgeEndpoint }[] {
    return this.#networking.bridgeEndpoints(networkId);
  }

  async createBridge(request: BridgeNetworkCreate): Promise<string> {
    const { id } = this.#bridges.create(request);
    this.#networking.applyFirewall();
    return id;
  }

  async removeBridge(id: string): Promise<void> {
    const network = this.#bridges.get(id);
    if (!network) throw new SkeinError('NotFound', `network ${id} not found`);
    if (this.bridgeEndpoints(id).length > 0) {
      const text = `error while removing network: network ${network.name} id ${id} has active endpoints`;
      throw new SkeinError('PermissionDenied', text);
    }
    this.#bridges.remove(network);
    this.#networking.applyFirewall();
  }

  /** Lets go of sockets and timers; containers and their traffic go on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#unsubscribe();
    this.#sweep[Symbol.dispose]();
    this.#restarter[Symbol.dispose]();
    await this.#register.settled();
    this.#networking[Symbol.dispose]();
    this.#host[Symbol.dispose]();
  }

  #modeOf(mode: string): NetworkMode {
    if (mode === 'none' || mode === 'host') return { kind: mode };
    if (!mode.startsWith('container:')) return { kind: 'own' };
    return { kind: 'container', of: this.#networkOwner(mode.slice('container:'.length)) };
  }

  #networkOwner(reference: string): string {
    try {
      return this.#options.runtime.find(reference);
    } catch (error) {
      // Of what is not found a client thinks that it is the image, which it pulls.
      if (!(error instanceof SkeinError && error.code === 'NotFound')) throw error;
      throw new SkeinError('InvalidArgument', error.message, { cause: error });
    }
  }

  #hostnameOf(mode: NetworkMode, utsMode: string | undefined, id: string): string {
    if (mode.kind === 'host' || utsMode === 'host') return this.#options.hostname;
    return (mode.kind === 'container' ? this.#register.find(mode.of)?.hostname : undefined) ?? id.slice(0, 12);
  }

  /** Whether a container has the name, or is being created with it. */
  #isTaken(name: string): boolean {
    if (this.#register.all().some((record) => record.name === name)) return true;
    try {
      this.#options.runtime.find(name);
      return true;
    } catch {
      return false;
    }
  }

  async #removeNow(record: PlainRecord, options: { force: boolean; volumes: boolean }): Promise<void> {
    const id = record.containerId;
    await this.#options.runtime.remove(id, options);
    await this.#register.inOrder(id, async () => {
      await this.#networking.down(record);
      this.#forget(record);
    });
  }

  /** Events of the container room tell when a container has ended, whoever ended it. */
  #take({ type, action, actor }: EngineEvent): void {
    if (type !== 'container' || action !== 'die') return;
    const record = this.#register.find(actor.id);
    if (!record || this.#closed) return;
    const exitCode = Number(actor.attributes.exitCode);
    this.#register
      .inOrder(actor.id, () => this.#ended(record, exitCode))
      .catch((error: unknown) => {
        this.#options.logger.error(
          { container: record.name, error: errorText(error) },
          "a container's end was not seen to",
        );
      });
  }

  async #ended(record: PlainRecord, exitCode: number): Promise<void> {
    const id = record.containerId;
    const { runtime } = this.#options;
    if (this.#register.find(id) === undefined) return;
    const container = await runtime.inspect(id).catch(() => undefined);
    if (container?.State.Running) return;
    const hostConfig = container && hostConfigOf(container);
    const count = container?.RestartCount ?? 0;
    if (container && restarts(hostConfig?.RestartPolicy, exitCode, count, record.stopped, false)) {
      await this.#restarter.schedule(
        record,
        count,
        Date.parse(container.State.FinishedAt) - Date.parse(container.State.StartedAt),
      );
      return;
    }
    await this.#networking.down(record);
    if (!container || !hostConfig?.AutoRemove || this.#kept.has(id)) return;
    await runtime.remove(id, { force: true, volumes: true });
    this.#forget(record);
  }

  /** Stopping a container that waits for its next start is to cancel that. */
  async #unlessRestarting(record: PlainRecord, action: () => Promise<void>): Promise<void> {
    const id = record.containerId;
    if (!this.#restarter.cancel(id)) return action();
    await this.#register.inOrder(id, async () => {
      const { RestartCount } = await this.#options.runtime.inspect(id);
      await this.#networking.down(record);
      await this.#options.runtime.setRestarting(id, false, RestartCount);
    });
  }

  #forget(record: PlainRecord): void {
    this.#register.delete(record);
    this.#restarter.cancel(record.containerId);
  }
}
