/** Docker's Task, only sent (moby daemon/cluster/convert/task.go). */
import { TaskSchema } from '../../swarm/gen/objects_pb.js';
import { TaskSpecSchema } from '../../swarm/gen/specs_pb.js';
import {
  ContainerStatusSchema,
  PortStatusSchema,
  TaskState,
  TaskStatusSchema,
  VersionSchema,
  VolumeAttachmentSchema,
} from '../../swarm/gen/types_pb.js';
import { always, field, optional, struct, table } from './codec.ts';
import { annotations, genericResource, meta, version } from './common.ts';
import { portConfig } from './endpoint.ts';
import { networkAttachment } from './network.ts';
import { taskSpec } from './task-spec.ts';
import { formatTime, int32, list, text, uint64, words } from './values.ts';

/** Docker's words for the task states. */
export const taskStates: Readonly<Record<string, TaskState>> = {
  new: TaskState.NEW,
  pending: TaskState.PENDING,
  assigned: TaskState.ASSIGNED,
  accepted: TaskState.ACCEPTED,
  preparing: TaskState.PREPARING,
  ready: TaskState.READY,
  starting: TaskState.STARTING,
  running: TaskState.RUNNING,
  complete: TaskState.COMPLETE,
  shutdown: TaskState.SHUTDOWN,
  failed: TaskState.FAILED,
  rejected: TaskState.REJECTED,
  remove: TaskState.REMOVE,
  orphaned: TaskState.ORPHANED,
};
const state = words(taskStates, (word) => `Invalid filter: 'desired-state=${word}'`);

const containerStatus = table(ContainerStatusSchema, [
  always('ContainerID', 'containerId', text),
  always('PID', 'pid', int32),
  always('ExitCode', 'exitCode', int32),
]);

const status = table(TaskStatusSchema, [
  {
    encode: ({ timestamp }, json) => {
      json.Timestamp = formatTime(timestamp);
    },
    decode: () => {},
  },
  field('State', 'state', state),
  field('Message', 'message', text),
  field('Err', 'err', text),
  optional('ContainerStatus', 'container', containerStatus),
  struct(
    'PortStatus',
    'portStatus',
    PortStatusSchema,
    table(PortStatusSchema, [field('Ports', 'ports', list(portConfig))]),
  ),
]);

export const task = table(TaskSchema, [
  always('ID', 'id', text),
  meta,
  annotations,
  struct('Spec', 'spec', TaskSpecSchema, taskSpec),
  field('ServiceID', 'serviceId', text),
  field('Slot', 'slot', uint64),
  field('NodeID', 'nodeId', text),
  struct('Status', 'status', TaskStatusSchema, status),
  field('DesiredState', 'desiredState', state),
  field('NetworksAttachments', 'networks', list(networkAttachment)),
  field('GenericResources', 'assignedGenericResources', list(genericResource)),
  optional('JobIteration', 'jobIteration', table(VersionSchema, version.fields)),
  field(
    'Volumes',
    'volumes',
    list(
      table(VolumeAttachmentSchema, [
        field('ID', 'id', text),
        field('Source', 'source', text),
        field('Target', 'target', text),
      ]),
    ),
  ),
]);
