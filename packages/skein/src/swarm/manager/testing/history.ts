/** Random histories of a cluster: what users, nodes and containers may do to it, in an order that nobody chose. For tests. */
import assert from 'node:assert/strict';
import { clone, create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import fc from 'fast-check';
import { SkeinError } from '../../../common/index.ts';
import {
  EndpointSpec_ResolutionMode,
  EndpointSpecSchema,
  NodeSpec_Availability,
  type ServiceSpec,
  ServiceSpecSchema,
} from '../../gen/specs_pb.js';
import {
  IPAMConfigSchema,
  NodeStatus_State,
  PlacementSchema,
  PortConfig_PublishMode,
  ResourceRequirementsSchema,
  TaskState,
  UpdateConfig_FailureAction,
  UpdateConfigSchema,
} from '../../gen/types_pb.js';
import { serviceSpec, TestCluster } from './cluster.ts';

/** What a service of a history asks for; each field is small, so that services get into each other's way. */
const wishes = fc.record({
  mode: fc.constantFrom('replicated', 'replicated', 'global', 'job'),
  replicas: fc.nat(7),
  /** Bits: which of the networks. */
  networks: fc.nat(7),
  port: fc.constantFrom('none', 'none', 'any', 'ingress', 'host'),
  zone: fc.constantFrom('', '', 'a', 'b'),
  maxReplicas: fc.constantFrom(0, 0, 1, 2),
  cpus: fc.nat(2),
  order: fc.nat(1),
  parallelism: fc.nat(2),
  pauses: fc.boolean(),
  nameless: fc.boolean(),
});
type Wishes = typeof wishes extends fc.Arbitrary<infer W> ? W : never;

const serviceSteps = ['scale', 'force', 'respec', 'rollback', 'remove', 'remove'] as const;
const nodeSteps = ['down', 'up', 'up', 'drain', 'pause', 'active', 'active', 'forget'] as const;

export const step = fc.record({
  what: fc.oneof(
    fc.record({ kind: fc.constant('create' as const), wishes }),
    fc.record({ kind: fc.constantFrom(...serviceSteps), which: fc.nat(5), wishes }),
    fc.record({ kind: fc.constantFrom(...nodeSteps), which: fc.nat(nodes().length - 1) }),
    fc.record({ kind: fc.constantFrom('fail' as const, 'crash' as const, 'hang' as const), which: fc.nat(30) }),
    fc.record({ kind: fc.constantFrom('network' as const, 'unnetwork' as const, 'grow' as const), which: fc.nat(2) }),
    fc.record({ kind: fc.constantFrom('attach' as const, 'detach' as const), which: fc.nat(2) }),
    fc.record({ kind: fc.constant('restart' as const) }),
    fc.record({ kind: fc.constant('settle' as const) }),
  ),
  /** Virtual time until the next step; most steps come while the one before is still under way. */
  thenMs: fc.constantFrom(0, 100, 100, 1_000, 6_000, 20_000),
});
export type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

/** Longer than a restart's delay and than a replacement waits for the task before it, both of which may follow each other. */
const settleMs = 150_000;
const settleStepMs = 500;
/** n1 is the manager's own node. */
function nodes(): readonly string[] {
  return ['n1', 'n2', 'n3', 'n4'];
}
const zoneOf = (id: string): string => (id < 'n3' ? 'a' : 'b');
export const nodeCpus = 4n * 1_000_000_000n;

export class History implements AsyncDisposable {
  /** Small subnets and few of them, so that they run out. */
  readonly cluster = new TestCluster({ pools: ['10.5.0.0/24'], subnetSize: 28 });
  #services: string[] = [];
  readonly #networks = new Map<number, string>();
  readonly #broken = new Set<string>();
  readonly #hanging = new Set<string>();
  #made = 0;
  readonly #settled: () => void;

  /** `settled` is called whenever the cluster has come to rest. */
  constructor(settled: (cluster: TestCluster) => void) {
    this.#settled = () => settled(this.cluster);
    this.cluster.behaviour = (task) => (this.#broken.has(task.serviceId) ? TaskState.FAILED : runOrEnd(task));
    this.cluster.stops = (task) => !this.#hanging.has(task.id);
    for (const id of nodes()) this.#bringUp(id);
    for (const place of [0, 1]) this.#createNetwork(place);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]();
  }

  /** Does one step. What the cluster refuses in words is no error; it must be as if it had not been asked. */
  async apply({ what, thenMs }: Step): Promise<void> {
    if (what.kind === 'restart') await this.cluster.restartLoops();
    else this.#do(what);
    this.cluster.run(thenMs);
  }

  /** Nothing fails any more, nobody asks for anything, and time passes. */
  settle(): void {
    this.#broken.clear();
    this.#hanging.clear();
    this.cluster.run(settleMs, settleStepMs);
    this.#settled();
  }

  /** Everything is taken away. */
  removeAll(): void {
    for (const id of nodes()) this.#bringUp(id);
    for (const id of this.#services) this.cluster.control.removeService(id);
    for (const place of [0, 1, 2]) this.#detach(place);
    this.settle();
    for (const id of this.#networks.values()) this.cluster.control.removeNetwork(id);
    this.#networks.clear();
    this.settle();
  }

  #do(what: Step['what']): void {
    switch (what.kind) {
      case 'settle':
        this.settle();
        return;
      case 'create':
        this.#create(what.wishes);
        return;
      case 'fail':
      case 'crash':
      case 'hang':
        this.#disturb(what.kind, what.which);
        return;
      case 'network':
        this.#createNetwork(what.which);
        return;
      case 'grow':
        this.#grow(what.which);
        return;
      case 'unnetwork':
        this.#removeNetwork(what.which);
        return;
      case 'attach':
        this.#attach(what.which);
        return;
      case 'detach':
        this.#detach(what.which);
        return;
      case 'restart':
        return;
      default:
        if ('wishes' in what) this.#change(what.kind, what.which, what.wishes);
        else this.#changeNode(what.kind, nodes()[what.which] ?? '');
    }
  }

  #create(wanted: Wishes): void {
    const spec = serviceSpec(`s${this.#made++}`, { mode: modeOf(wanted) });
    this.#fill(spec, wanted);
    const made = attempt(() => this.cluster.control.createService(spec));
    if (made) this.#services.push(made.id);
  }

  #change(kind: (typeof serviceSteps)[number], which: number, wanted: Wishes): void {
    const id = this.#services[which % Math.max(this.#services.length, 1)];
    if (id === undefined) return;
    const { control } = this.cluster;
    if (kind === 'remove') {
      control.removeService(id);
      this.#services = this.#services.filter((other) => other !== id);
      return;
    }
    const service = this.cluster.service(id);
    const spec = clone(ServiceSpecSchema, service.spec ?? assert.fail());
    if (kind === 'scale' && spec.mode.case === 'replicated') spec.mode.value.replicas = BigInt(wanted.replicas);
    if (kind === 'force' && spec.task) spec.task.forceUpdate++;
    if (kind === 'respec') this.#fill(spec, wanted);
    const rollback = kind === 'rollback' ? 'previous' : 'none';
    attempt(() => control.updateService(id, service.meta?.version?.index ?? 0n, spec, { rollback }));
  }

  #fill(spec: ServiceSpec, wanted: Wishes): void {
    const { task } = spec;
    if (!task) return;
    task.networks = [];
    for (const [place, target] of this.#networks)
      if (wanted.networks & (1 << place))
        task.networks.push({
          $typeName: 'docker.swarmkit.v1.NetworkAttachmentConfig',
          target,
          aliases: [],
          addresses: [],
          driverAttachmentOpts: {},
        });
    const constraints = wanted.zone === '' ? [] : [`node.labels.zone==${wanted.zone}`];
    // Docker knows this limit for replicated services only.
    const maxReplicas = spec.mode.case === 'replicated' ? BigInt(wanted.maxReplicas) : 0n;
    task.placement = create(PlacementSchema, { constraints, maxReplicas });
    task.resources = create(ResourceRequirementsSchema, {
      reservations: { nanoCpus: BigInt(wanted.cpus) * 1_000_000_000n },
    });
    if (spec.mode.case === 'replicatedJob') return;
    spec.endpoint = endpointOf(wanted);
    const going = {
      order: wanted.order,
      failureAction: UpdateConfig_FailureAction.CONTINUE,
      monitor: durationFromMs(1_000),
    };
    const failureAction = wanted.pauses ? UpdateConfig_FailureAction.PAUSE : going.failureAction;
    spec.update = create(UpdateConfigSchema, { ...going, failureAction, parallelism: BigInt(wanted.parallelism) });
    spec.rollback = create(UpdateConfigSchema, { ...going, parallelism: 1n });
  }

  #disturb(kind: 'fail' | 'crash' | 'hang', which: number): void {
    const running = this.cluster.running();
    const task = running[which % Math.max(running.length, 1)];
    if (!task) return;
    if (kind === 'crash') this.cluster.report(task.id, TaskState.FAILED);
    else if (kind === 'hang') this.#hanging.add(task.id);
    else this.#broken.add(task.serviceId);
  }

  #changeNode(kind: (typeof nodeSteps)[number], id: string): void {
    const known = this.cluster.store.view((tx) => tx.get('node', id));
    if (kind === 'up' || !known) this.#bringUp(id);
    else if (kind === 'forget') attempt(() => this.cluster.control.removeNode(id, true));
    else
      this.cluster.changeNode(id, ({ spec, status }) => {
        if (kind === 'down' && status) status.state = NodeStatus_State.DOWN;
        if (kind === 'drain' && spec) spec.availability = NodeSpec_Availability.DRAIN;
        if (kind === 'pause' && spec) spec.availability = NodeSpec_Availability.PAUSE;
        if (kind === 'active' && spec) spec.availability = NodeSpec_Availability.ACTIVE;
      });
  }

  #bringUp(id: string): void {
    this.cluster.addNode(id, ({ spec }) => {
      if (!spec) return;
      spec.availability = NodeSpec_Availability.ACTIVE;
      spec.annotations = {
        $typeName: 'docker.swarmkit.v1.Annotations',
        name: '',
        labels: { zone: zoneOf(id) },
        indices: [],
      };
    });
  }

  #createNetwork(place: number): void {
    if (this.#networks.has(place)) return;
    // One of three is wider than what the pools give.
    const id = attempt(() => this.cluster.createNetwork(`net${place}`, place === 1 ? '10.9.0.0/26' : undefined));
    if (id !== undefined) this.#networks.set(place, id);
  }

  #removeNetwork(place: number): void {
    const id = this.#networks.get(place);
    if (id === undefined) return;
    attempt(() => {
      this.cluster.control.removeNetwork(id);
      this.#networks.delete(place);
    });
  }

  #grow(place: number): void {
    const id = this.#networks.get(place);
    if (id !== undefined) attempt(() => this.cluster.control.growNetwork(id, [create(IPAMConfigSchema)]));
  }

  /** A plain container of some node comes to a network or leaves it. */
  #attach(place: number): void {
    const target = this.#networks.get(place);
    if (target === undefined || this.#attachment(place)) return;
    this.cluster.attach(`plain${place}`, nodes()[place + 1] ?? '', target);
  }

  #detach(place: number): void {
    const task = this.#attachment(place);
    if (task) this.cluster.store.update((tx) => tx.delete('task', task));
  }

  #attachment(place: number): string | undefined {
    return this.cluster.store.view((tx) => tx.get('task', `plain${place}`)?.id);
  }
}

/** A job's task comes to its end at once. */
function runOrEnd(task: Parameters<TestCluster['behaviour']>[0]): TaskState {
  return task.jobIteration === undefined ? TaskState.RUNNING : TaskState.COMPLETE;
}

function modeOf({ mode, replicas }: Wishes): ServiceSpec['mode'] {
  const value = BigInt(replicas);
  if (mode === 'global') return create(ServiceSpecSchema, { mode: { case: 'global', value: {} } }).mode;
  if (mode === 'job')
    return create(ServiceSpecSchema, {
      mode: { case: 'replicatedJob', value: { maxConcurrent: value || 1n, totalCompletions: value || 1n } },
    }).mode;
  return create(ServiceSpecSchema, { mode: { case: 'replicated', value: { replicas: value } } }).mode;
}

function endpointOf({ port, nameless }: Wishes): ServiceSpec['endpoint'] {
  const published = { any: 0, ingress: 8080, host: 9090 } as const;
  const publishMode = port === 'host' ? PortConfig_PublishMode.HOST : PortConfig_PublishMode.INGRESS;
  return create(EndpointSpecSchema, {
    mode: nameless && port === 'none' ? EndpointSpec_ResolutionMode.DNSRR : EndpointSpec_ResolutionMode.VIP,
    ports: port === 'none' ? [] : [{ targetPort: 80, publishedPort: published[port], publishMode }],
  });
}

/** @returns undefined when the cluster refused in words. */
function attempt<R>(ask: () => R): R | undefined {
  try {
    return ask();
  } catch (error) {
    if (error instanceof SkeinError) return undefined;
    throw error;
  }
}
