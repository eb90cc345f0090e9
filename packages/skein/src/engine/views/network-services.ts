/** The `Services` of a verbose network inspect, from the manager's store: who answers on this network, and where. */
import type { Task } from '../../swarm/gen/objects_pb.js';
import { TaskState } from '../../swarm/gen/types_pb.js';
import type { JsonObject } from '../json.ts';
import type { Engine } from '../types.ts';

/** @returns `{ Services }` on a manager; nothing on a worker, which does not know. */
export function networkServices({ swarm, networking }: Engine, networkId: string): JsonObject {
  if (!swarm.status().controlAvailable) return {};
  const ours = new Map(
    networking
      .sandboxes()
      .flatMap((sandbox) =>
        sandbox.endpoints
          .filter((endpoint) => endpoint.network.id === networkId)
          .map((endpoint) => [sandbox.containerName, endpoint.id] as const),
      ),
  );
  const services = swarm.control().store.view((transaction) =>
    transaction.list('service').flatMap((service) => {
      const tasks = transaction
        .tasksByService(service.id)
        .filter((task) => task.status?.state === TaskState.RUNNING && addressOn(task, networkId) !== undefined);
      if (tasks.length === 0) return [];
      const virtualIp = service.endpoint?.virtualIps.find((each) => each.networkId === networkId)?.addr ?? '';
      const entry = {
        VIP: plain(virtualIp),
        Ports: [],
        LocalLBIndex: 0,
        Tasks: tasks.map((task) => {
          const name = `${service.spec?.annotations?.name}.${task.slot > 0n ? task.slot : task.nodeId}.${task.id}`;
          return {
            Name: name,
            EndpointID: ours.get(name) ?? '',
            EndpointIP: plain(addressOn(task, networkId) ?? ''),
            Info: { 'Host IP': transaction.get('node', task.nodeId)?.status?.addr ?? '' },
          };
        }),
      };
      return [[service.spec?.annotations?.name ?? service.id, entry] as const];
    }),
  );
  return { Services: Object.fromEntries(services) };
}

const addressOn = (task: Task, networkId: string): string | undefined =>
  task.networks.find((each) => each.network?.id === networkId)?.addresses[0];

const plain = (address: string): string => address.split('/')[0] ?? '';
