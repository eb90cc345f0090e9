/** A cluster in memory: swarm node, control and store, for the engine's tests. Knows no orchestration. */
import { clone, create, type DescMessage, type MessageShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { newObjectId, RpcError, SkeinError } from '../../common/index.ts';
import {
  type Cluster,
  ClusterSchema,
  NetworkSchema,
  NodeSchema,
  type ServiceSchema,
  TaskSchema,
} from '../../swarm/gen/objects_pb.js';
import { ManagerStatus_Reachability, NodeRole, NodeStatus_State, TaskState } from '../../swarm/gen/types_pb.js';
import type { ClusterLogMessage, ClusterLogs, Control } from '../../swarm/manager/types.ts';
import type { SwarmNode, SwarmStatus } from '../../swarm/node/types.ts';
import { FakeStore, nameOf, type Store, type Stored, schemas, type Table } from './fake-store.ts';

/** Control over the fake store: names are unique, versions count, nothing is allocated but a VNI and a subnet. */
export class FakeControl {
  readonly store: Store;
  readonly #store: FakeStore;
  #vni = 4097;

  constructor(store: FakeStore) {
    this.#store = store;
    this.store = store.contract;
  }

  contract(): Control {
    const find = (table: Table) => (reference: string) => this.#find(table, reference) as never;
    const remove = (table: Table) => (id: string) => this.#store.delete(table, id);
    const make = (table: Table) => (spec: unknown) => this.#create(table, spec, {}) as never;
    const update = (table: Table) => (id: string, version: bigint, spec: unknown) =>
      this.#update(table, id, version, spec) as never;
    return {
      store: this.store,
      cluster: () => this.#store.list('cluster')[0] as unknown as Cluster,
      updateCluster: (version, spec, rotation) => {
        const cluster = this.#update(
          'cluster',
          this.#store.list('cluster')[0]?.id ?? '',
          version,
          spec,
        ) as never as Cluster;
        const tokens = cluster.rootCa?.joinTokens;
        if (tokens !== undefined && rotation.workerToken) tokens.worker = 'SWMTKN-1-worker-rotated';
        return cluster;
      },
      findNode: find('node'),
      updateNode: update('node'),
      removeNode: (id) => {
        throw new RpcError('FailedPrecondition', `node ${id} is not down and can't be removed`);
      },
      createNetwork: (spec) => {
        const vni = this.#vni++;
        return this.#create('network', spec, {
          driverState: { name: 'overlay', options: { 'com.docker.network.driver.overlay.vxlanid_list': `${vni}` } },
          ipam: {
            driver: { name: 'default' },
            configs: [{ subnet: `10.0.${vni - 4096}.0/24`, gateway: `10.0.${vni - 4096}.1` }],
          },
        }) as never;
      },
      findNetwork: find('network'),
      growNetwork: () => {
        throw new RpcError('Unimplemented', 'the pretended cluster has networks of one subnet');
      },
      removeNetwork: (id) => {
        const user = (this.#store.list('service') as never as MessageShape<typeof ServiceSchema>[]).find((service) =>
          service.spec?.task?.networks.some(({ target }) => target === id),
        );
        if (user !== undefined)
          throw new RpcError('FailedPrecondition', `network ${id} is in use by service ${user.id}`);
        this.#store.delete('network', id);
      },
      createService: (spec) => {
        const service = this.#create('service', spec, { endpoint: { spec: spec.endpoint } }) as never as MessageShape<
          typeof ServiceSchema
        >;
        const replicas = spec.mode.case === 'replicated' ? Number(spec.mode.value.replicas) : 1;
        for (let slot = 1; slot <= replicas; slot++) this.#runTask(service, slot);
        return service;
      },
      findService: find('service'),
      updateService: update('service'),
      removeService: (id) => {
        this.#store.delete('service', id);
        for (const task of this.#store.tasks().filter((each) => each.serviceId === id))
          this.#store.delete('task', task.id);
      },
      findTask: find('task'),
      removeTask: remove('task'),
      createSecret: make('secret'),
      findSecret: find('secret'),
      updateSecret: update('secret'),
      removeSecret: remove('secret'),
      createConfig: make('config'),
      findConfig: find('config'),
      updateConfig: update('config'),
      removeConfig: remove('config'),
    };
  }

  #runTask(service: MessageShape<typeof ServiceSchema>, slot: number): void {
    const node = this.#store.list('node')[0];
    const networks = (service.spec?.task?.networks ?? []).map(({ target }) => ({
      network: this.#store.table('network').get(target),
      addresses: [`10.0.1.${slot + 2}/24`],
    }));
    this.#store.put(
      'task',
      create(TaskSchema, {
        id: newObjectId(),
        serviceId: service.id,
        slot: BigInt(slot),
        nodeId: node?.id ?? '',
        annotations: {},
        serviceAnnotations: service.spec?.annotations as never,
        spec: service.spec?.task as never,
        desiredState: TaskState.RUNNING,
        status: {
          timestamp: timestampFromDate(new Date()),
          state: TaskState.RUNNING,
          message: 'started',
          container: { containerId: 'c'.repeat(64), pid: 4242, exitCode: 0 },
          portStatus: {},
        },
        networks: networks as never,
      }) as never,
    );
  }

  #find(table: Table, reference: string): Stored {
    const all = this.#store.list(table);
    const hostname = (each: Stored): string =>
      table === 'node'
        ? ((each as unknown as MessageShape<typeof NodeSchema>).description?.hostname ?? '')
        : nameOf(each);
    const exact = all.find((each) => each.id === reference) ?? all.find((each) => hostname(each) === reference);
    const byPrefix = exact === undefined ? all.filter((each) => each.id.startsWith(reference)) : [exact];
    if (byPrefix.length > 1) {
      throw new SkeinError('InvalidArgument', `${table} ${reference} is ambiguous (${byPrefix.length} matches found)`);
    }
    const [found] = byPrefix;
    if (found === undefined) throw new SkeinError('NotFound', `${table} ${reference} not found`);
    return found;
  }

  #create(table: Table, spec: unknown, more: object): Stored {
    const name = (spec as { annotations?: { name: string } }).annotations?.name ?? '';
    if (name !== '' && this.#store.list(table).some((each) => nameOf(each) === name)) {
      throw new RpcError('AlreadyExists', `name conflicts with an existing object: ${table} ${name} already exists`);
    }
    const id = newObjectId();
    this.#store.put(table, create(schemas[table] as DescMessage, { id, spec, ...more } as never) as Stored);
    return this.#find(table, id);
  }

  #update(table: Table, id: string, version: bigint, spec: unknown): Stored {
    const current = this.#find(table, id);
    if (current.meta?.version?.index !== version) throw new RpcError('Unknown', 'update out of sequence');
    this.#store.put(table, { ...clone(schemas[table] as DescMessage, current), spec } as never);
    return this.#find(table, id);
  }
}

const notManager =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';
const workerText =
  "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.";

/** A swarm node that becomes the only manager by init, or a worker by join. */
export class FakeSwarmNode implements SwarmNode {
  readonly store = new FakeStore();
  readonly caCertificate: string;
  logLines: ClusterLogMessage[] = [];
  #role: 'none' | 'manager' | 'worker' = 'none';
  #nodeId = '';

  constructor(caCertificate: string) {
    this.caCertificate = caCertificate;
  }

  async init(request: Parameters<SwarmNode['init']>[0]): Promise<string> {
    this.#refuseMember();
    this.#role = 'manager';
    this.#nodeId = newObjectId();
    this.store.put('cluster', this.#cluster(request) as never);
    this.store.put('node', this.#node() as never);
    this.store.put(
      'network',
      create(NetworkSchema, {
        id: newObjectId(),
        spec: { annotations: { name: 'ingress' }, ingress: true, driverConfig: { name: 'overlay' } },
        driverState: { name: 'overlay', options: { 'com.docker.network.driver.overlay.vxlanid_list': '4096' } },
        ipam: { driver: { name: 'default' }, configs: [{ subnet: '10.0.0.0/24', gateway: '10.0.0.1' }] },
      }) as never,
    );
    return this.#nodeId;
  }

  async join(): Promise<void> {
    this.#refuseMember();
    this.#role = 'worker';
    this.#nodeId = newObjectId();
  }

  async leave(force: boolean): Promise<void> {
    if (this.#role === 'none') throw new SkeinError('Unavailable', 'This node is not part of a swarm');
    if (this.#role === 'manager' && !force) {
      throw new SkeinError(
        'Unavailable',
        'You are attempting to leave the swarm on a node that is participating as a manager. Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message.',
      );
    }
    this.#role = 'none';
    this.store.tables.clear();
  }

  status(): SwarmStatus {
    const member = this.#role !== 'none';
    return {
      nodeId: member ? this.#nodeId : '',
      nodeAddress: member ? '172.31.1.5' : '',
      localNodeState: member ? 'active' : 'inactive',
      controlAvailable: this.#role === 'manager',
      error: '',
      remoteManagers: member ? [{ nodeId: this.#nodeId, address: '172.31.1.5:2377' }] : [],
      description: undefined,
    };
  }

  control(): Control {
    if (this.#role === 'none') throw new SkeinError('Unavailable', notManager);
    if (this.#role === 'worker') throw new SkeinError('Unavailable', workerText);
    return new FakeControl(this.store).contract();
  }

  logs(): ClusterLogs {
    const lines = this.logLines;
    return {
      async *subscribe() {
        yield* lines;
      },
    };
  }

  async attachNetwork(): Promise<string> {
    throw new SkeinError('Unavailable', 'the fake cluster attaches nothing');
  }

  async detachNetwork(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {}

  #refuseMember(): void {
    if (this.#role !== 'none') {
      throw new SkeinError(
        'Unavailable',
        'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.',
      );
    }
  }

  #cluster(request: Parameters<SwarmNode['init']>[0]): Cluster {
    return create(ClusterSchema, {
      id: newObjectId(),
      spec: {
        annotations: { name: 'default' },
        orchestration: { taskHistoryRetentionLimit: 5n },
        raft: {
          snapshotInterval: 10_000n,
          logEntriesForSlowFollowers: 500n,
          heartbeatTick: 1,
          electionTick: 10,
        },
        dispatcher: { heartbeatPeriod: { seconds: 5n } },
        caConfig: { nodeCertExpiry: { seconds: 7_776_000n } },
        taskDefaults: {},
        encryptionConfig: {},
      },
      rootCa: {
        caCert: Buffer.from(this.caCertificate),
        joinTokens: { worker: 'SWMTKN-1-worker', manager: 'SWMTKN-1-manager' },
      },
      subnetSize: request.subnetSize,
      vxlanUdpPort: request.dataPathPort,
    });
  }

  #node(): MessageShape<typeof NodeSchema> {
    return create(NodeSchema, {
      id: this.#nodeId,
      role: NodeRole.MANAGER,
      spec: { desiredRole: NodeRole.MANAGER, membership: 1 },
      description: {
        hostname: 'node1',
        platform: { architecture: 'x86_64', os: 'linux' },
        resources: { nanoCpus: 2_000_000_000n, memoryBytes: 25_276_510_208n },
        engine: { engineVersion: '0.1.0', plugins: [{ type: 'Network', name: 'overlay' }] },
        tlsInfo: {
          trustRoot: Buffer.from(this.caCertificate),
          certIssuerSubject: Buffer.from([0x30, 0x00]),
          certIssuerPublicKey: Buffer.from([0x30, 0x01]),
        },
      },
      status: { state: NodeStatus_State.READY, addr: '172.31.1.5' },
      managerStatus: { leader: true, reachability: ManagerStatus_Reachability.REACHABLE, addr: '172.31.1.5:2377' },
    });
  }
}
