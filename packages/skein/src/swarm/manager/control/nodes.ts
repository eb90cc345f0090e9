import { X509Certificate } from 'node:crypto';
import { clone, create } from '@bufbuild/protobuf';
import { timestampFromMs, timestampMs } from '@bufbuild/protobuf/wkt';
import { RpcError } from '../../../common/index.ts';
import { type Cluster, ClusterSchema, type Node, NodeSchema } from '../../gen/objects_pb.js';
import { type NodeSpec, NodeSpec_Membership, NodeSpecSchema } from '../../gen/specs_pb.js';
import { BlacklistedCertificateSchema, NodeRole, NodeStatus_State } from '../../gen/types_pb.js';
import type { ReadTransaction } from '../../store/index.ts';
import { orphanTasks } from '../orchestrator/index.ts';
import type { Control } from '../types.ts';
import { find, get, startFrom } from './lookup.ts';
import type { ControlOptions } from './options.ts';

/** How long a removed node's expired certificate is remembered (swarmkit manager/controlapi: expiredCertGrace). */
const expiredCertificateGraceMs = 24 * 3_600_000 * 7;
const nodeDeletedMessage = 'Task belonged to a node that has been deleted';

export function nodeControl({
  store,
  now = Date.now,
}: ControlOptions): Pick<Control, 'findNode' | 'updateNode' | 'removeNode'> {
  return {
    findNode: (reference) => store.view((tx) => find(tx, 'node', reference)),
    updateNode: (id, version, spec) =>
      store.update((tx) => {
        const node = clone(NodeSchema, get(tx, 'node', id));
        checkRoleChange(tx, node, spec);
        startFrom(node, version);
        node.spec = clone(NodeSpecSchema, spec);
        node.spec.membership = node.spec.membership || NodeSpec_Membership.ACCEPTED;
        tx.update('node', node);
        return node;
      }),
    removeNode: (id, force) =>
      store.update((tx) => {
        const node = get(tx, 'node', id);
        if (node.spec?.desiredRole === NodeRole.MANAGER)
          throw new RpcError(
            'FailedPrecondition',
            `node ${id} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal`,
          );
        if (!force && node.status?.state === NodeStatus_State.READY)
          throw new RpcError('FailedPrecondition', `node ${id} is not down and can't be removed`);
        for (const stored of tx.list('cluster')) {
          const cluster = clone(ClusterSchema, stored);
          blacklist(cluster, node, now());
          tx.update('cluster', cluster);
        }
        orphanTasks(tx, id, nodeDeletedMessage, now());
        tx.delete('node', id);
      }),
  };
}

function checkRoleChange(tx: ReadTransaction, node: Node, spec: NodeSpec): void {
  const [before, after] = [node.spec?.desiredRole ?? NodeRole.WORKER, spec.desiredRole];
  if (before === after) return;
  if (after === NodeRole.MANAGER)
    throw new RpcError(
      'Unimplemented',
      `node ${node.id} cannot become a manager: a swarm has one manager in this version`,
    );
  const managers = tx.list('node').filter(({ role }) => role === NodeRole.MANAGER);
  if (managers.length === 1 && managers[0]?.id === node.id)
    throw new RpcError('FailedPrecondition', 'attempting to demote the last manager of the swarm');
}

/** The removed node's certificate stays valid until it expires: it is refused by its name until then. */
function blacklist(cluster: Cluster, node: Node, now: number): void {
  const entry = create(BlacklistedCertificateSchema);
  const pem = node.certificate?.certificate ?? new Uint8Array();
  if (pem.length > 0) entry.expiry = timestampFromMs(certificateExpiry(pem, now));
  cluster.blacklistedCertificates[node.id] = entry;
  for (const [id, { expiry }] of Object.entries(cluster.blacklistedCertificates))
    if (expiry && timestampMs(expiry) < now - expiredCertificateGraceMs) delete cluster.blacklistedCertificates[id];
}

/** @returns when a certificate ends, in ms since the epoch; one that cannot be read counts as long-lived. */
function certificateExpiry(pem: Uint8Array, now: number): number {
  const longestMs = 365 * 24 * 3_600_000;
  try {
    return new X509Certificate(pem).validToDate.getTime();
  } catch {
    return now + longestMs;
  }
}
