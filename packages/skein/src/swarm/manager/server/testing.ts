/** What the tests of the manager's server share: a cluster in a store in memory, its root and its manager. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { type Clock, newObjectId, silentLogger, systemClock } from '../../../common/index.ts';
import { ClusterSchema, NodeSchema } from '../../gen/objects_pb.js';
import { NodeSpec_Membership } from '../../gen/specs_pb.js';
import { IssuanceStatus_State, ManagerStatus_Reachability, NodeRole } from '../../gen/types_pb.js';
import { clusterRootCa, createRootCa, managerRole, NodeIdentity } from '../../identity/index.ts';
import { openStore, type Store } from '../../store/index.ts';
import type { HostWitness } from '../types.ts';
import { type ManagerServer, startManagerServer } from './index.ts';

export interface TestCluster {
  readonly store: Store;
  readonly clusterId: string;
  readonly server: ManagerServer;
  readonly identity: NodeIdentity;
  readonly address: string;
  readonly workerToken: string;
  readonly managerToken: string;
  readonly directory: string;
  readonly clock: Clock;
}

/** Starts a manager on a free port of 127.0.0.1, or of what `host` says; everything ends with the test. */
export async function startTestCluster(
  t: { after(action: () => unknown): void },
  clock: Clock = systemClock,
  host = '127.0.0.1',
  witness?: HostWitness,
): Promise<TestCluster> {
  const logger = silentLogger();
  const directory = mkdtempSync(join(tmpdir(), 'skein-manager-'));
  const store = openStore({ path: ':memory:', logger });
  const [clusterId, nodeId] = [newObjectId(), newObjectId()];
  const authority = await createRootCa(clock.now());
  const rootCa = clusterRootCa(authority);
  const { worker: workerToken = '', manager: managerToken = '' } = rootCa.joinTokens ?? {};
  const identity = await NodeIdentity.issue(
    { directory: join(directory, 'manager'), clock, logger },
    authority,
    { organization: clusterId, role: managerRole, nodeId },
    90 * 86_400,
  );
  store.update((transaction) => {
    transaction.create(
      'cluster',
      create(ClusterSchema, {
        id: clusterId,
        spec: { annotations: { name: 'default' } },
        rootCa,
        networkBootstrapKeys: [1n, 2n, 3n].map((lamportTime) => ({ subsystem: 'networking:gossip', lamportTime })),
      }),
    );
  });
  const server = await startManagerServer({
    listen: { host, port: 0 },
    store,
    identity,
    clusterId,
    clock,
    logger,
    witness,
  });
  const address = `127.0.0.1:${server.port}`;
  store.update((transaction) => {
    transaction.create(
      'node',
      create(NodeSchema, {
        id: nodeId,
        role: NodeRole.MANAGER,
        spec: { desiredRole: NodeRole.MANAGER, membership: NodeSpec_Membership.ACCEPTED },
        certificate: { cn: nodeId, role: NodeRole.MANAGER, status: { state: IssuanceStatus_State.ISSUED } },
        managerStatus: { addr: address, leader: true, reachability: ManagerStatus_Reachability.REACHABLE },
      }),
    );
  });
  t.after(async () => {
    await server.close();
    identity[Symbol.dispose]();
    store[Symbol.dispose]();
    rmSync(directory, { recursive: true, force: true });
  });
  return { store, clusterId, server, identity, address, workerToken, managerToken, directory, clock };
}
