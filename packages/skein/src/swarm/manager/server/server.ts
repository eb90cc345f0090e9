import type { Clock, Logger } from '../../../common/index.ts';
import { CA, NodeCA } from '../../gen/ca_pb.js';
import { Dispatcher as DispatcherService } from '../../gen/dispatcher_pb.js';
import { Health } from '../../gen/health_pb.js';
import { LogBroker as LogBrokerService } from '../../gen/logbroker_pb.js';
import { ResourceAllocator } from '../../gen/resource_pb.js';
import type { NodeIdentity } from '../../identity/index.ts';
import type { Store } from '../../store/types.ts';
import { CertificateService, CertificateSigner } from '../ca/index.ts';
import { Dispatcher } from '../dispatcher/index.ts';
import { LogBroker } from '../logbroker/index.ts';
import type { ClusterLogs, HostWitness } from '../types.ts';
import { authorization } from './authorization.ts';
import { errorMapping } from './errors.ts';
import { healthService } from './health.ts';
import { listen } from './listener.ts';
import { resourceAllocator } from './resource-allocator.ts';

export interface ManagerServerOptions {
  /** Port 0 takes any free one. */
  readonly listen: { readonly host: string; readonly port: number };
  /** Holds the Cluster object (root CA with its key, tokens, keys) and the manager's own Node with managerStatus.addr. */
  readonly store: Store;
  /** The manager's own certificate; a renewal is taken over at once. */
  readonly identity: NodeIdentity;
  readonly clusterId: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** What this host knows of the hosts of the nodes. */
  readonly witness?: HostWitness | undefined;
}

/** A running manager: what it listens on, and what the engine needs of it. */
export interface ManagerServer extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly logs: ClusterLogs;
  /** Ends sessions in good order, then the server; takes two seconds at most. */
  close(): Promise<void>;
}

/**
 * Serves the nodes: CA, NodeCA, Dispatcher, LogBroker, ResourceAllocator and Health on one port. Raft and the other
 * services of a swarmkit manager are not there and answer UNIMPLEMENTED.
 * @throws Error of the socket (EADDRINUSE, EADDRNOTAVAIL).
 */
export async function startManagerServer(options: ManagerServerOptions): Promise<ManagerServer> {
  const { store, clusterId, clock, logger, identity, witness } = options;
  const stopping = new AbortController();
  const logs = new LogBroker(store, stopping.signal);
  const certificates = new CertificateService(store, clusterId, stopping.signal);
  const signer = new CertificateSigner({ store, clusterId, clock, logger });
  const dispatcher = new Dispatcher({ store, clusterId, nodeId: identity.nodeId, clock, logger, witness });
  const closeServices = async () => {
    dispatcher.close();
    stopping.abort();
    await signer.close();
  };
  try {
    const listener = await listen({
      ...options.listen,
      identity,
      logger,
      interceptors: [errorMapping(logger), authorization(store, clusterId)],
      routes: (router) =>
        router
          .service(CA, certificates.ca())
          .service(NodeCA, certificates.nodeCa())
          .service(DispatcherService, dispatcher.service())
          .service(LogBrokerService, logs.service())
          .service(ResourceAllocator, resourceAllocator(store, clock))
          .service(Health, healthService()),
    });
    const close = async () => {
      await closeServices();
      await listener.close();
    };
    return { host: listener.host, port: listener.port, logs, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await closeServices();
    throw error;
  }
}
