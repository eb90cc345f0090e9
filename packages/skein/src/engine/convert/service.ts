/** Docker's Service and ServiceSpec ↔ swarmkit's (moby daemon/cluster/convert/service.go). */
import { create } from '@bufbuild/protobuf';
import { SkeinError } from '../../common/index.ts';
import { ServiceSchema } from '../../swarm/gen/objects_pb.js';
import {
  GlobalJobSchema,
  GlobalServiceSchema,
  ReplicatedJobSchema,
  ReplicatedServiceSchema,
  type ServiceSpec,
  ServiceSpecSchema,
  TaskSpecSchema,
} from '../../swarm/gen/specs_pb.js';
import {
  UpdateConfig_FailureAction as FailureAction,
  JobStatusSchema,
  UpdateConfigSchema,
  UpdateConfig_UpdateOrder as UpdateOrder,
  UpdateStatus_UpdateState as UpdateState,
  UpdateStatusSchema,
  VersionSchema,
} from '../../swarm/gen/types_pb.js';
import { isObject, type JsonObject, member, typeError } from '../json.ts';
import { always, type Field, field, optional, struct, table } from './codec.ts';
import { annotations, meta, version } from './common.ts';
import { endpoint, endpointSpec } from './endpoint.ts';
import { networkAttachmentConfig, taskTemplate } from './task-spec.ts';
import { duration, float, formatTime, list, text, time, uint64, words } from './values.ts';

const updateConfig = table(UpdateConfigSchema, [
  always('Parallelism', 'parallelism', uint64),
  optional('Delay', 'delay', { ...duration }),
  field(
    'FailureAction',
    'failureAction',
    words(
      { pause: FailureAction.PAUSE, continue: FailureAction.CONTINUE, rollback: FailureAction.ROLLBACK },
      (word) => `unrecognized update failure action ${word}`,
    ),
  ),
  optional('Monitor', 'monitor', duration),
  always('MaxFailureRatio', 'maxFailureRatio', float),
  always(
    'Order',
    'order',
    words(
      { 'stop-first': UpdateOrder.STOP_FIRST, 'start-first': UpdateOrder.START_FIRST },
      (word) => `unrecognized update order ${word}`,
    ),
  ),
]);

const replicated = table(ReplicatedServiceSchema, [always('Replicas', 'replicas', uint64)]);
const replicatedJob = table(ReplicatedJobSchema, [
  always('MaxConcurrent', 'maxConcurrent', uint64),
  always('TotalCompletions', 'totalCompletions', uint64),
]);

/** Mode: one of four; none is one replica. */
const mode: Field<ServiceSpec> = {
  encode: ({ mode }, json) => {
    json.Mode =
      mode.case === 'replicated'
        ? { Replicated: replicated.encode(mode.value) }
        : mode.case === 'global'
          ? { Global: {} }
          : mode.case === 'replicatedJob'
            ? { ReplicatedJob: replicatedJob.encode(mode.value) }
            : mode.case === 'globalJob'
              ? { GlobalJob: {} }
              : {};
  },
  decode: (spec, json, path) => {
    const given = member(json, 'Mode') ?? {};
    if (!isObject(given)) throw typeError(given, `${path}.Mode`, 'swarm.ServiceMode');
    spec.mode = decodeMode(given, `${path}.Mode`);
  },
};

function decodeMode(given: JsonObject, path: string): ServiceSpec['mode'] {
  const kinds = ['Replicated', 'Global', 'ReplicatedJob', 'GlobalJob'] as const;
  const [kind, second] = kinds.filter((each) => member(given, each) !== undefined);
  if (second !== undefined) throw new SkeinError('InvalidArgument', 'must specify only one service mode');
  const value = kind === undefined ? {} : member(given, kind);
  if (!isObject(value)) throw typeError(value, `${path}.${kind}`, `swarm.${kind}`);
  switch (kind) {
    case 'Global':
      return { case: 'global', value: create(GlobalServiceSchema) };
    case 'GlobalJob':
      return { case: 'globalJob', value: create(GlobalJobSchema) };
    case 'ReplicatedJob': {
      const maxConcurrent = uint64.decode(member(value, 'MaxConcurrent') ?? 1, `${path}.ReplicatedJob.MaxConcurrent`);
      const total = member(value, 'TotalCompletions');
      const totalCompletions =
        total === undefined ? maxConcurrent : uint64.decode(total, `${path}.ReplicatedJob.TotalCompletions`);
      return { case: 'replicatedJob', value: create(ReplicatedJobSchema, { maxConcurrent, totalCompletions }) };
    }
    default: {
      const replicas = uint64.decode(member(value, 'Replicas') ?? 1, `${path}.Replicated.Replicas`);
      return { case: 'replicated', value: create(ReplicatedServiceSchema, { replicas }) };
    }
  }
}

/** `Networks` of the service itself, which API versions before 1.25 used. */
const oldNetworks: Field<ServiceSpec> = {
  encode: ({ task, networks }, json) => {
    if (networks.length > 0 && (task?.networks.length ?? 0) === 0) {
      json.TaskTemplate = {
        ...(json.TaskTemplate as JsonObject),
        Networks: list(networkAttachmentConfig).encode(networks),
      };
    }
  },
  decode: (spec, json, path) => {
    const networks = member(json, 'Networks');
    if (networks === undefined || spec.task === undefined || spec.task.networks.length > 0) return;
    spec.task.networks = list(networkAttachmentConfig).decode(networks, `${path}.Networks`);
  },
};

export const serviceSpec = table(ServiceSpecSchema, [
  annotations,
  {
    ...struct('TaskTemplate', 'task', TaskSpecSchema, taskTemplate),
    decode: (spec, json, path) => {
      spec.task = taskTemplate.decode(member(json, 'TaskTemplate') ?? {}, `${path}.TaskTemplate`);
    },
  },
  oldNetworks,
  mode,
  optional('UpdateConfig', 'update', updateConfig),
  optional('RollbackConfig', 'rollback', updateConfig),
  optional('EndpointSpec', 'endpoint', endpointSpec),
]);

const updateStatus = table(UpdateStatusSchema, [
  field(
    'State',
    'state',
    words(
      {
        updating: UpdateState.UPDATING,
        paused: UpdateState.PAUSED,
        completed: UpdateState.COMPLETED,
        rollback_started: UpdateState.ROLLBACK_STARTED,
        rollback_paused: UpdateState.ROLLBACK_PAUSED,
        rollback_completed: UpdateState.ROLLBACK_COMPLETED,
      },
      (word) => `invalid UpdateState: "${word}"`,
    ),
  ),
  optional('StartedAt', 'startedAt', time),
  optional('CompletedAt', 'completedAt', time),
  field('Message', 'message', text),
]);

const jobStatus = table(JobStatusSchema, [
  struct('JobIteration', 'jobIteration', VersionSchema, version),
  {
    encode: ({ lastExecution }, json) => {
      json.LastExecution = formatTime(lastExecution);
    },
    decode: optional('LastExecution', 'lastExecution', time).decode,
  },
]);

/** What GET /services/{id} shows. */
export const service = table(ServiceSchema, [
  always('ID', 'id', text),
  meta,
  struct('Spec', 'spec', ServiceSpecSchema, serviceSpec),
  optional('PreviousSpec', 'previousSpec', serviceSpec),
  endpoint,
  optional('UpdateStatus', 'updateStatus', updateStatus),
  optional('JobStatus', 'jobStatus', jobStatus),
]);
