import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { errorText, type Logger, SkeinError } from '../common/index.ts';
import type { ContainerRuntime, RegistryAuth } from '../container/types.ts';
import { formatResolvConf, hostsFile, hostsLines, resolvConf } from '../discovery/index.ts';
import { plainAddresses } from '../overlay/index.ts';
import type { SandboxState } from '../overlay/types.ts';
import type {
  ContainerFacts,
  Dependencies,
  TaskController,
  TaskLogEntry,
  TaskLogOptions,
} from '../swarm/agent/types.ts';
import type { Task } from '../swarm/gen/objects_pb.js';
import type { ContainerSpec } from '../swarm/gen/specs_pb.js';
import { type PortStatus, PortStatusSchema } from '../swarm/gen/types_pb.js';
import {
  checkBindSources,
  containerConfig,
  hostConfig,
  hostnameOf,
  stopGraceSeconds,
  taskFiles,
} from './container-spec.ts';
import { containerIdOf, taskNameOf } from './names.ts';
import { plainAddress, usesHostNetwork } from './overlay-network.ts';
import { containerSpecOf, type HostResolver, type TaskNetwork } from './task-network.ts';
import type { TaskPulls } from './task-pulls.ts';
import type { TemplateContext } from './template.ts';

/** Between disabling a task's record and stopping it, so that the news spreads first (moby executor/container/controller.go). */
const drainMs = 2000;
/** Between two attempts to give a running task its names. */
const serveRetryMs = 1000;
/** How long a new task waits for the host to be in the gossip (moby executor/container/controller.go waits 30 s too). */
const joinTimeoutMs = 30_000;
/** How often a health check's verdict is looked at while a task starts and runs. */
const healthPollMs = 500;

export interface ControllerContext {
  readonly runtime: ContainerRuntime;
  readonly pulls: TaskPulls;
  readonly network: TaskNetwork;
  readonly hostResolver: () => HostResolver;
  readonly node: () => TemplateContext['node'];
  readonly logger: Logger;
  /** Resolves when the host is in the cluster's gossip. */
  readonly joined: (signal: AbortSignal) => Promise<void>;
}

/** One task as a container. See TaskController for what each step promises. */
export class ContainerController implements TaskController {
  readonly containerId: string;
  readonly #context: ControllerContext;
  readonly #dependencies: Dependencies;
  #task: Task;

  constructor(task: Task, dependencies: Dependencies, context: ControllerContext) {
    this.#task = task;
    this.#dependencies = dependencies;
    this.#context = context;
    this.containerId = containerIdOf(task.id);
  }

  update(task: Task): void {
    this.#task = task;
  }

  async prepare(signal: AbortSignal): Promise<void> {
    const spec = this.#spec();
    checkBindSources(spec, this.#template());
    if (!this.#exists()) await this.#pull(spec, signal);
    signal.throwIfAborted();
    await this.#orShutdown(signal, async () => {
      const sandbox = usesHostNetwork(this.#task) ? undefined : await this.#attachNew(signal);
      if (!this.#exists()) await this.#create(spec, sandbox);
    });
  }

  async start(signal: AbortSignal): Promise<void> {
    await this.#orShutdown(signal, async () => {
      const { State } = await this.#context.runtime.inspect(this.containerId);
      if (!usesHostNetwork(this.#task)) {
        // What an earlier daemon started is not given up because no manager answers.
        if (State.Running) await this.#context.joined(signal);
        await this.#attachNew(signal);
        await this.#context.network.openPorts(this.#task, this.containerId);
      }
      if (!State.Running) await this.#context.runtime.start(this.containerId).catch(throwStartFailure);
      await this.#untilHealthy(signal);
      this.#publish();
    });
  }

  async wait(signal: AbortSignal): Promise<void> {
    const ending = new AbortController();
    const both = AbortSignal.any([signal, ending.signal]);
    const serving = this.#keepServing(both);
    try {
      const exit = this.#context.runtime.wait(this.containerId, 'not-running', both);
      const outcome = await Promise.race([exit, this.#untilUnhealthy(both)]);
      if (outcome === 'unhealthy') {
        await this.#context.runtime.stop(this.containerId, { timeout: stopGraceSeconds(this.#spec()) });
        throw new Error('task: non-zero exit (unhealthy container)');
      }
      if (outcome.exitCode !== 0)
        throw new Error(`task: non-zero exit (${outcome.exitCode})${outcome.error ? `: ${outcome.error}` : ''}`);
    } finally {
      ending.abort();
      await serving;
      // Also one that still runs: nobody else stops a task that has failed.
      if (!signal.aborted) await this.shutdown(signal);
    }
  }

  async shutdown(signal: AbortSignal): Promise<void> {
    if (this.#exists()) {
      const { State } = await this.#context.runtime.inspect(this.containerId);
      if (State.Running) {
        if (this.#context.network.disable(this.containerId)) await sleep(drainMs, undefined, { signal });
        await ignoreNotModified(
          this.#context.runtime.stop(this.containerId, { timeout: stopGraceSeconds(this.#spec()) }),
        );
      }
    }
    await this.#context.network.release(this.containerId);
  }

  async remove(_signal: AbortSignal): Promise<void> {
    if (this.#exists()) await this.#context.runtime.remove(this.containerId, { force: true });
    await this.#context.network.release(this.containerId);
  }

  async containerFacts(): Promise<ContainerFacts | undefined> {
    if (!this.#exists()) return undefined;
    const { State } = await this.#context.runtime.inspect(this.containerId);
    return { containerId: this.containerId, pid: State.Pid, exitCode: State.ExitCode };
  }

  portStatus(): Promise<PortStatus | undefined> {
    const ports = this.#context.network.openedPorts(this.#task, this.containerId);
    return Promise.resolve(ports.length === 0 ? undefined : create(PortStatusSchema, { ports }));
  }

  async *logs(options: TaskLogOptions): AsyncIterable<TaskLogEntry> {
    yield* this.#context.runtime.logs(this.containerId, options);
  }

  #spec(): ContainerSpec {
    const spec = containerSpecOf(this.#task);
    if (!spec)
      throw new SkeinError(
        'Unimplemented',
        `task ${this.#task.id} is not a container: runtime ${this.#task.spec?.runtime.case ?? 'unknown'} is not built`,
      );
    return spec;
  }

  #template(): TemplateContext {
    return { task: this.#task, node: this.#context.node() };
  }

  #exists(): boolean {
    try {
      this.#context.runtime.find(this.containerId);
      return true;
    } catch (error) {
      if (error instanceof SkeinError && error.code === 'NotFound') return false;
      throw error;
    }
  }

  /** A step that fails is the task's last: no other one stops it and takes its network away before others have its addresses. */
  async #orShutdown(signal: AbortSignal, action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      // What was interrupted is tried again, or followed by `shutdown`.
      if (!signal.aborted) await this.#shutdownOfFailed(signal);
      throw error;
    }
  }

  async #shutdownOfFailed(signal: AbortSignal): Promise<void> {
    try {
      await this.shutdown(signal);
    } catch (error) {
      const what = 'what is left of a failed task stays until the task is removed';
      this.#context.logger.error({ err: error, task: this.#task.id }, what);
    }
  }

  async #attachNew(signal: AbortSignal): Promise<SandboxState> {
    await this.#context.joined(AbortSignal.any([signal, AbortSignal.timeout(joinTimeoutMs)]));
    return this.#attach();
  }

  #attach(): Promise<SandboxState> {
    return this.#context.network.prepare(this.#task, this.containerId, this.#context.hostResolver());
  }

  /**
   * Gives a running task its names and records. After a restart of the daemon the container answers its own names at
   * once; the records follow when the host is in the gossip again. What fails is said and tried again.
   */
  async #keepServing(signal: AbortSignal): Promise<void> {
    if (usesHostNetwork(this.#task)) return;
    while (!signal.aborted) {
      try {
        await this.#context.network.resume(this.#task, this.containerId, this.#context.hostResolver());
        await this.#context.joined(signal);
        await this.#attach();
        await this.#context.network.openPorts(this.#task, this.containerId);
        await this.#untilHealthy(signal);
        this.#publish();
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.#context.logger.warn({ err: error, task: this.#task.id }, 'the task has no names or records yet');
        await sleep(serveRetryMs, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  #publish(): void {
    this.#context.network.publish(
      this.#task,
      this.containerId,
      hostnameOf(this.#spec(), this.containerId, this.#template()),
    );
  }

  async #create(spec: ContainerSpec, sandbox: SandboxState | undefined): Promise<void> {
    const template = this.#template();
    const hostname = hostnameOf(spec, this.containerId, template);
    await this.#context.runtime.create({
      id: this.containerId,
      name: taskNameOf(this.#task),
      config: containerConfig(spec, this.containerId, template),
      hostConfig: hostConfig(spec, template),
      networkNamespace: sandbox?.networkNamespace ?? '',
      ...this.#resolution(spec, hostname, sandbox),
      files: taskFiles(spec, this.#dependencies, template),
    });
  }

  /** /etc/hosts and /etc/resolv.conf. In the host's network there is no name server of ours: the host's are asked. */
  #resolution(
    spec: ContainerSpec,
    hostname: string,
    sandbox: SandboxState | undefined,
  ): { hosts: string; resolvConf: string } {
    const host = this.#context.hostResolver();
    const orHost = (own: readonly string[] = [], ofHost: readonly string[]) => (own.length > 0 ? own : ofHost);
    const nameservers = orHost(spec.dnsConfig?.nameservers, host.nameservers);
    const search = orHost(spec.dnsConfig?.search, host.search);
    const options = orHost(spec.dnsConfig?.options, host.options);
    const extra = spec.hosts.map(hostsLine);
    if (sandbox === undefined) {
      const hosts = readFileSync('/etc/hosts', 'utf8') + hostsLines(extra);
      return { hosts, resolvConf: formatResolvConf({ nameservers, search, options }) };
    }
    const own = sandbox.endpoints.filter((endpoint) => !endpoint.network.ingress).flatMap(plainAddresses);
    const addresses = own.length > 0 ? own : gatewayAddress(sandbox);
    return {
      hosts: hostsFile({ hostname, names: [], addresses, extra }),
      resolvConf: resolvConf({ search, options }),
    };
  }

  /** As dockerd: always asks the registry, and is content with a local image when that fails. */
  async #pull(spec: ContainerSpec, signal: AbortSignal): Promise<void> {
    const auth = registryAuth(spec.pullOptions?.registryAuth ?? '');
    try {
      await this.#context.pulls.pull(spec.image, auth, signal);
    } catch (error) {
      signal.throwIfAborted();
      try {
        await this.#context.runtime.images.inspect(spec.image);
      } catch {
        throw new SkeinError('NotFound', `No such image: ${spec.image}: ${errorText(error)}`, { cause: error });
      }
      this.#context.logger.warn(
        { image: spec.image, err: errorText(error) },
        'pulling image failed; the local one is used',
      );
    }
  }

  async #untilHealthy(signal: AbortSignal): Promise<void> {
    for (;;) {
      const { State } = await this.#context.runtime.inspect(this.containerId);
      if (State.Health === undefined || State.Health.Status === 'healthy' || State.Health.Status === 'none') return;
      // One that has ended well needs no health; `wait` tells how it ended.
      if (!State.Running && State.ExitCode === 0) return;
      if (!State.Running) throw new Error(`task: non-zero exit (${State.ExitCode})`);
      if (State.Health.Status === 'unhealthy') {
        await this.#context.runtime.stop(this.containerId, { timeout: stopGraceSeconds(this.#spec()) });
        throw new Error('unhealthy container');
      }
      await sleep(healthPollMs, undefined, { signal });
    }
  }

  async #untilUnhealthy(signal: AbortSignal): Promise<'unhealthy'> {
    const { State } = await this.#context.runtime.inspect(this.containerId);
    if (State.Health === undefined) return new Promise(() => {});
    for (;;) {
      await sleep(healthPollMs, undefined, { signal });
      const { State: now } = await this.#context.runtime.inspect(this.containerId);
      if (now.Health?.Status === 'unhealthy') return 'unhealthy';
    }
  }
}

/** A line of swarm's `hosts`: address, name, aliases. */
function hostsLine(line: string): { address: string; names: string[] } {
  const [address = '', ...names] = line.trim().split(/\s+/);
  return { address, names };
}

function gatewayAddress(sandbox: SandboxState): string[] {
  return sandbox.gateway ? [plainAddress(sandbox.gateway.address)] : [];
}

function registryAuth(header: string): RegistryAuth | undefined {
  if (header === '') return undefined;
  try {
    return JSON.parse(Buffer.from(header, 'base64url').toString('utf8')) as RegistryAuth;
  } catch (error) {
    throw new SkeinError('InvalidArgument', 'invalid registry credentials: X-Registry-Auth is not base64url JSON', {
      cause: error,
    });
  }
}

/** In dockerd's words (moby executor/container/controller.go). */
function throwStartFailure(error: unknown): never {
  const code = error instanceof SkeinError ? error.code : 'Internal';
  throw new SkeinError(code, `starting container failed: ${errorText(error)}`, { cause: error });
}

async function ignoreNotModified(action: Promise<void>): Promise<void> {
  try {
    await action;
  } catch (error) {
    if (!(error instanceof SkeinError && (error.code === 'NotModified' || error.code === 'NotFound'))) throw error;
  }
}
