import assert from 'node:assert/strict';
import { clone, create } from '@bufbuild/protobuf';
import { silentLogger } from '../../../common/index.ts';
import { type Node, NodeSchema, type Service, type Task, TaskSchema } from '../../gen/objects_pb.js';
import { NetworkSpecSchema, NodeSpec_Availability, type ServiceSpec, ServiceSpecSchema } from '../../gen/specs_pb.js';
import { NodeStatus_State, RootCASchema, TaskState } from '../../gen/types_pb.js';
import { openStore, type Store } from '../../store/index.ts';
import { growingNetworksPlugin, type LocalRoute, Quarantine } from '../allocator/index.ts';
import { createControl } from '../control/index.ts';
import { startManagerLoops } from '../loops.ts';
import { createClusterObjects } from '../predefined.ts';
import { isAlive, isWanted, setStatus, stateOf } from '../tasks.ts';
import type { Control } from '../types.ts';
import { VirtualClock } from './virtual-clock.ts';

/** What a pretended agent makes of a task that it is to run; undefined leaves it where it is. */
export type Behaviour = (task: Task) => TaskState | undefined;

const logger = silentLogger();

/** A cluster in one process and in virtual time: the real store, control and loops, with pretended agents on its nodes. For tests. */
export class TestCluster implements AsyncDisposable {
  readonly clock = new VirtualClock();
  readonly store: Store;
  control: Control;
  behaviour: Behaviour = () => TaskState.RUNNING;
  /** Whether an agent stops a task that is to stop, or is still at it. */
  stops: (task: Task) => boolean = () => true;
  /** What listeners of the store found wrong: the store keeps their errors to itself. */
  readonly failures: unknown[] = [];
  #loops: AsyncDisposable;
  readonly #routes: readonly LocalRoute[];

  constructor(options: { pools?: string[]; subnetSize?: number; routes?: readonly LocalRoute[] } = {}) {
    this.#routes = options.routes ?? [];
    const now = () => this.clock.now();
    const localRoutes = () => this.#routes;
    this.store = openStore({ path: ':memory:', logger, now });
    createClusterObjects(this.store, {
      clusterId: 'cluster',
      rootCa: create(RootCASchema, { joinTokens: { worker: 'SWMTKN-1-d-w', manager: 'SWMTKN-1-d-m' } }),
      defaultAddressPool: options.pools ?? [],
      subnetSize: options.subnetSize ?? 0,
      dataPathPort: 0,
      spec: undefined,
      node: { id: 'n1', availability: NodeSpec_Availability.ACTIVE, certificate: new Uint8Array() },
      allocation: { localRoutes },
    });
    this.addNode('n1');
    ({ control: this.control, loops: this.#loops } = this.#start());
  }

  #start(): { control: Control; loops: AsyncDisposableStack } {
    const { store, clock } = this;
    const localRoutes = () => this.#routes;
    const loops = new AsyncDisposableStack();
    const quarantine = loops.use(new Quarantine(store, clock));
    loops.use(startManagerLoops({ store, clock, logger, localRoutes, quarantine }));
    return { control: createControl({ store, logger, localRoutes, quarantine, now: () => clock.now() }), loops };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#loops[Symbol.asyncDispose]();
    assert.equal(this.clock.pending, 0, 'the stopped loops left timers');
    this.store[Symbol.dispose]();
  }

  /** Stops all loops and starts new ones, with a new control, that know only the store. */
  async restartLoops(): Promise<void> {
    await this.#loops[Symbol.asyncDispose]();
    ({ control: this.control, loops: this.#loops } = this.#start());
  }

  addNode(id: string, change: (node: Node) => void = () => {}): void {
    this.store.update((tx) => {
      const stored = tx.get('node', id);
      const node = stored ? clone(NodeSchema, stored) : create(NodeSchema, { id, spec: {} });
      const description = create(NodeSchema, {
        description: {
          hostname: `host-${id}`,
          platform: { architecture: 'x86_64', os: 'linux' },
          resources: { nanoCpus: 4_000_000_000n, memoryBytes: 8n * 1024n ** 3n },
          engine: {
            plugins: [
              ...['overlay', 'bridge', 'host'].map((name) => ({ type: 'Network', name })),
              growingNetworksPlugin,
            ],
          },
        },
        status: { state: NodeStatus_State.READY, addr: '192.0.2.1' },
      });
      node.description = description.description;
      node.status = description.status;
      change(node);
      if (stored) tx.update('node', node);
      else tx.create('node', node);
    });
  }

  changeNode(id: string, change: (node: Node) => void): void {
    this.store.update((tx) => {
      const node = clone(NodeSchema, tx.get('node', id) ?? assert.fail(`no node ${id}`));
      change(node);
      tx.update('node', node);
    });
  }

  checkFailures(): void {
    if (this.failures.length > 0) throw this.failures[0];
  }

  /** Lets `ms` pass, agents answering every `step` ms. */
  run(ms: number, step = 100): void {
    for (let passed = 0; passed < ms; passed += step) {
      this.clock.advance(step);
      this.#act();
    }
    this.clock.advance(0);
  }

  /** What the agents of the nodes that are up report. */
  #act(): void {
    for (const task of this.tasks()) {
      const node = this.store.view((tx) => tx.get('node', task.nodeId));
      if (node?.status?.state !== NodeStatus_State.READY || !isAlive(task) || stateOf(task) < TaskState.ASSIGNED)
        continue;
      if (!isWanted(task)) {
        if (this.stops(task)) this.report(task.id, TaskState.SHUTDOWN);
      } else if (task.desiredState >= TaskState.RUNNING && stateOf(task) < TaskState.RUNNING) {
        const next = this.behaviour(task);
        if (next !== undefined) this.report(task.id, next);
      }
    }
  }

  /** A plain container's place on a network, as the node of the container asks for it. */
  attach(id: string, nodeId: string, target: string): void {
    this.store.update((tx) => {
      const task = create(TaskSchema, {
        id,
        nodeId,
        spec: { runtime: { case: 'attachment', value: { containerId: id } }, networks: [{ target }] },
        status: { state: TaskState.NEW },
        desiredState: TaskState.RUNNING,
      });
      tx.create('task', task);
    });
  }

  report(taskId: string, state: TaskState): void {
    this.store.update((tx) => {
      const task = clone(TaskSchema, tx.get('task', taskId) ?? assert.fail(`no task ${taskId}`));
      setStatus(task, this.clock.now(), state, 'reported');
      tx.update('task', task);
    });
  }

  tasks(serviceId?: string): Task[] {
    return this.store.view((tx) => (serviceId === undefined ? tx.list('task') : tx.tasksByService(serviceId)));
  }

  /** Tasks that run and are to run. */
  running(serviceId?: string): Task[] {
    return this.tasks(serviceId).filter(
      (task) => stateOf(task) === TaskState.RUNNING && task.desiredState === TaskState.RUNNING,
    );
  }

  service(id: string): Service {
    return this.store.view((tx) => tx.get('service', id)) ?? assert.fail(`no service ${id}`);
  }

  node(id: string): Node {
    return this.store.view((tx) => tx.get('node', id)) ?? assert.fail(`no node ${id}`);
  }

  createNetwork(name: string, subnet?: string): string {
    const spec = create(NetworkSpecSchema, {
      annotations: { name },
      driverConfig: { name: 'overlay' },
      ipam: subnet ? { configs: [{ subnet }] } : undefined,
    });
    return this.control.createNetwork(spec).id;
  }

  update(id: string, change: (spec: ServiceSpec) => void): void {
    const service = this.service(id);
    const spec = clone(ServiceSpecSchema, service.spec ?? assert.fail());
    change(spec);
    this.control.updateService(id, service.meta?.version?.index ?? 0n, spec, { rollback: 'none' });
  }
}

/** @returns the spec of a service `name` with `replicas` tasks, or one on each node. */
export function serviceSpec(
  name: string,
  options: {
    replicas?: number;
    global?: boolean;
    mode?: ServiceSpec['mode'];
    networks?: string[];
    image?: string;
    change?: (spec: ServiceSpec) => void;
  } = {},
): ServiceSpec {
  const spec = create(ServiceSpecSchema, {
    annotations: { name },
    task: {
      runtime: { case: 'container', value: { image: options.image ?? 'ubuntu:latest' } },
      networks: (options.networks ?? []).map((target) => ({ target })),
    },
    mode:
      options.mode ??
      (options.global
        ? { case: 'global', value: {} }
        : { case: 'replicated', value: { replicas: BigInt(options.replicas ?? 1) } }),
  });
  options.change?.(spec);
  return spec;
}

/** Sets the image of a spec: a change that every task has to follow. */
export function setImage(spec: ServiceSpec, image: string): void {
  if (spec.task?.runtime.case === 'container') spec.task.runtime.value.image = image;
}

/** @returns a task's addresses by network ID. */
export function addressesOf(task: Task): Record<string, string> {
  return Object.fromEntries(task.networks.map(({ network, addresses }) => [network?.id ?? '', addresses[0] ?? '']));
}
