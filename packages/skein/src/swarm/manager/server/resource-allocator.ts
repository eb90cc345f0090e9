import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { ServiceImpl } from '@connectrpc/connect';
import { type Clock, newObjectId, RpcError } from '../../../common/index.ts';
import { type Network, TaskSchema } from '../../gen/objects_pb.js';
import type { ResourceAllocator } from '../../gen/resource_pb.js';
import { TaskState } from '../../gen/types_pb.js';
import type { ReadTransaction, Store } from '../../store/types.ts';
import { callerOf } from './peer.ts';

/** @returns ResourceAllocator: attachment tasks for plain containers on attachable networks (protocols.md 2.7). */
export function resourceAllocator(store: Store, clock: Clock): ServiceImpl<typeof ResourceAllocator> {
  return {
    attachNetwork: ({ config, containerId }, { values }) => {
      const { nodeId } = callerOf(values);
      if (config === undefined) throw new RpcError('InvalidArgument', 'invalid argument');
      const attachmentId = newObjectId();
      store.update((transaction) => {
        const network = attachableNetwork(transaction, config.target);
        const task = create(TaskSchema, {
          id: attachmentId,
          nodeId,
          spec: {
            runtime: { case: 'attachment', value: { containerId } },
            networks: [{ target: network.id, addresses: config.addresses, aliases: config.aliases }],
          },
          status: { state: TaskState.NEW, timestamp: timestampFromMs(clock.now()), message: 'created' },
          desiredState: TaskState.RUNNING,
        });
        transaction.create('task', task);
      });
      return { attachmentId };
    },
    detachNetwork: ({ attachmentId }, { values }) => {
      const { nodeId } = callerOf(values);
      if (attachmentId === '') throw new RpcError('InvalidArgument', 'invalid argument');
      store.update((transaction) => {
        const task = transaction.get('task', attachmentId);
        if (task?.spec?.runtime.case !== 'attachment') {
          throw new RpcError('NotFound', `attachment ${attachmentId} not found`);
        }
        if (task.nodeId !== nodeId) {
          throw new RpcError('PermissionDenied', `attachment ${attachmentId} doesn't belong to this node`);
        }
        transaction.delete('task', attachmentId);
      });
      return {};
    },
  };
}

function attachableNetwork(transaction: ReadTransaction, target: string): Network {
  const network = transaction.get('network', target) ?? transaction.findByName('network', target);
  if (network === undefined) throw new RpcError('NotFound', `network ${target} not found`);
  if (network.spec?.attachable !== true) {
    throw new RpcError('PermissionDenied', `network ${target} not manually attachable`);
  }
  return network;
}
