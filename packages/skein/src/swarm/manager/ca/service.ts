import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { newObjectId, RpcError } from '../../../common/index.ts';
import type { CA, IssueNodeCertificateRequest, NodeCA, NodeCertificateStatusResponse } from '../../gen/ca_pb.js';
import { type Cluster, type Node, NodeSchema } from '../../gen/objects_pb.js';
import { NodeSpec_Membership } from '../../gen/specs_pb.js';
import { CertificateSchema, IssuanceStatus_State, IssuanceStatusSchema, NodeRole } from '../../gen/types_pb.js';
import { managerRole, sameToken, Wakeup } from '../../identity/index.ts';
import type { Store } from '../../store/types.ts';
import { callerKey } from '../server/peer.ts';
import { replaceNode } from './signer.ts';

/** NodeCertificateStatus answers when the certificate is in one of these. */
const settledStates = [IssuanceStatus_State.ISSUED, IssuanceStatus_State.FAILED, IssuanceStatus_State.ROTATE];
/** A new ID may meet an existing one; more often than this is a broken random source. */
const idAttempts = 3;

/**
 * The CA and NodeCA services. They only write what is wanted into the store; `CertificateSigner` signs.
 * @param stopping aborts when the manager stops: waiting calls end.
 */
export class CertificateService {
  readonly #store: Store;
  readonly #clusterId: string;
  readonly #stopping: AbortSignal;

  constructor(store: Store, clusterId: string, stopping: AbortSignal) {
    this.#store = store;
    this.#clusterId = clusterId;
    this.#stopping = stopping;
  }

  /** @returns the CA service. */
  ca(): ServiceImpl<typeof CA> {
    return {
      getRootCACertificate: () => ({ certificate: this.#cluster().rootCa?.caCert ?? new Uint8Array() }),
      getUnlockKey: () => {
        const cluster = this.#cluster();
        // The key that locks a manager's state is kept under the managers' role (swarmkit ca/server.go).
        const key = cluster.unlockKeys.find(({ subsystem }) => subsystem === managerRole);
        return { unlockKey: key?.key ?? new Uint8Array(), version: cluster.meta?.version };
      },
    };
  }

  /** @returns the NodeCA service. */
  nodeCa(): ServiceImpl<typeof NodeCA> {
    return {
      issueNodeCertificate: (request, { values }) => {
        this.#checkRunning();
        if (request.csr.length === 0) throw new RpcError('InvalidArgument', 'InvalidArgument');
        const caller = values.get(callerKey);
        const nodeId = caller === undefined ? this.#join(request) : this.#renew(caller.nodeId, request.csr);
        return { nodeId, nodeMembership: NodeSpec_Membership.ACCEPTED };
      },
      nodeCertificateStatus: ({ nodeId }, { signal }) => this.#awaitSettled(nodeId, signal),
    };
  }

  #join(request: IssueNodeCertificateRequest): string {
    const cluster = this.#cluster();
    const tokens = cluster.rootCa?.joinTokens;
    const role = sameToken(request.token, tokens?.manager ?? '')
      ? NodeRole.MANAGER
      : sameToken(request.token, tokens?.worker ?? '')
        ? NodeRole.WORKER
        : undefined;
    if (role === undefined) {
      throw new RpcError('InvalidArgument', 'A valid join token is necessary to join this cluster');
    }
    // Refused before there is a Node object, which nobody would take away again.
    if (role === NodeRole.MANAGER) {
      throw new RpcError(
        'Unimplemented',
        'a swarm has one manager in this version: join as a worker, with the token of "docker swarm join-token worker"',
      );
    }
    return this.#store.update((transaction) => {
      const nodeId = freeNodeId((id) => transaction.get('node', id) !== undefined);
      const node = create(NodeSchema, {
        id: nodeId,
        role,
        certificate: { csr: request.csr, cn: nodeId, role, status: { state: IssuanceStatus_State.PENDING } },
        spec: { desiredRole: role, membership: NodeSpec_Membership.ACCEPTED, availability: request.availability },
        vxlanUdpPort: cluster.vxlanUdpPort,
      });
      transaction.create('node', node);
      return nodeId;
    });
  }

  #renew(nodeId: string, csr: Uint8Array): string {
    this.#store.update((transaction) => {
      const node = transaction.get('node', nodeId);
      if (node === undefined) {
        throw new RpcError('NotFound', `node ${nodeId} not found when attempting to renew certificate`);
      }
      const status = create(IssuanceStatusSchema, { state: IssuanceStatus_State.RENEW });
      const certificate = create(CertificateSchema, { csr, cn: nodeId, role: node.role, status });
      replaceNode(transaction, node, { certificate });
    });
    return nodeId;
  }

  async #awaitSettled(nodeId: string, signal: AbortSignal): Promise<NodeCertificateStatusResponse | object> {
    const wakeup = new Wakeup();
    const unwatch = this.#store.watch((events) => {
      if (events.some(({ table, object }) => table === 'node' && object.id === nodeId)) wakeup.notify();
    });
    try {
      const ended = AbortSignal.any([signal, this.#stopping]);
      do {
        this.#checkRunning();
        const certificate = this.#node(nodeId).certificate;
        const status = certificate?.status;
        if (status !== undefined && settledStates.includes(status.state)) return { status, certificate };
      } while (await wakeup.next(ended));
      this.#checkRunning();
      throw new RpcError('Canceled', 'context canceled');
    } finally {
      unwatch();
    }
  }

  #node(nodeId: string): Node {
    const node = this.#store.view((transaction) => transaction.get('node', nodeId));
    if (node === undefined) throw new RpcError('NotFound', 'NotFound');
    return node;
  }

  #cluster(): Cluster {
    const cluster = this.#store.view((transaction) => transaction.get('cluster', this.#clusterId));
    if (cluster === undefined) throw new RpcError('Unavailable', `cluster ${this.#clusterId} is not in the store yet`);
    return cluster;
  }

  #checkRunning(): void {
    if (this.#stopping.aborted) throw new RpcError('Aborted', 'CA signer is stopped');
  }
}

function freeNodeId(isTaken: (id: string) => boolean): string {
  for (let attempt = 0; attempt < idAttempts; attempt++) {
    const id = newObjectId();
    if (!isTaken(id)) return id;
  }
  throw new RpcError('Internal', 'no free node ID');
}
