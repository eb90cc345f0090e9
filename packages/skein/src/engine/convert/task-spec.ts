import { SkeinError } from '../../common/index.ts';
import { type ContainerSpec, type TaskSpec, TaskSpecSchema } from '../../swarm/gen/specs_pb.js';
import {
  NetworkAttachmentConfigSchema,
  PlacementPreferenceSchema,
  PlacementSchema,
  ResourceRequirementsSchema,
  ResourcesSchema,
  RestartPolicy_RestartCondition as RestartCondition,
  RestartPolicySchema,
  SpreadOverSchema,
} from '../../swarm/gen/types_pb.js';
import { isObject, type JsonObject, member } from '../json.ts';
import { always, type Field, field, optional, table } from './codec.ts';
import { driver, genericResource, platform } from './common.ts';
import { containerSpec } from './container.ts';
import { duration, int64, list, map, strings, text, uint64, wide, words } from './values.ts';

/** Docker's words when the runtime and the given specs do not fit (convert.ErrMismatchedRuntime). */
const mismatchedRuntime = 'mismatched Runtime and *Spec fields';

const reservations = table(ResourcesSchema, [
  field('NanoCPUs', 'nanoCpus', int64),
  field('MemoryBytes', 'memoryBytes', int64),
  field('GenericResources', 'generic', list(genericResource)),
]);

const limits = table(ResourcesSchema, [
  field('NanoCPUs', 'nanoCpus', int64),
  field('MemoryBytes', 'memoryBytes', int64),
]);

const resources = table(ResourceRequirementsSchema, [
  optional('Limits', 'limits', limits),
  optional('Reservations', 'reservations', reservations),
  optional('SwapBytes', 'swapBytes', int64),
  optional('MemorySwappiness', 'memorySwappiness', int64),
]);

/** Resources, and in Limits the Pids that swarmkit keeps in the container spec. */
const resourcesWithPids: Field<TaskSpec> = {
  encode: (spec, json) => {
    if (spec.resources !== undefined) json.Resources = resources.encode(spec.resources);
    const pids = containerOf(spec)?.pidsLimit ?? 0n;
    if (pids === 0n) return;
    const outer = (json.Resources ?? {}) as JsonObject;
    json.Resources = { ...outer, Limits: { ...(outer.Limits as JsonObject | undefined), Pids: wide(pids) } };
  },
  decode: (spec, json, path) => {
    const found = member(json, 'Resources');
    if (found === undefined) return;
    spec.resources = resources.decode(found, `${path}.Resources`);
    if (spec.resources.swapBytes !== undefined && (spec.resources.limits?.memoryBytes ?? 0n) === 0n) {
      throw new SkeinError('InvalidArgument', 'memory swap provided, but no memory-limit was set');
    }
    const given = isObject(found) ? member(found, 'Limits') : undefined;
    const pids = isObject(given) ? member(given, 'Pids') : undefined;
    const container = containerOf(spec);
    if (pids !== undefined && container !== undefined) {
      container.pidsLimit = int64.decode(pids, `${path}.Resources.Limits.Pids`);
    }
  },
};

function containerOf(spec: TaskSpec): ContainerSpec | undefined {
  return spec.runtime.case === 'container' ? spec.runtime.value : undefined;
}

const restartPolicy = table(RestartPolicySchema, [
  {
    encode: ({ condition }, json) => {
      json.Condition = restartWords.encode(condition);
    },
    decode: (message, json, path) => {
      const word = member(json, 'Condition');
      // A policy without a condition restarts always (convert.restartPolicyToGRPC).
      message.condition =
        word === undefined || word === '' ? RestartCondition.ANY : restartWords.decode(word, `${path}.Condition`);
    },
  },
  optional('Delay', 'delay', duration),
  always('MaxAttempts', 'maxAttempts', uint64),
  optional('Window', 'window', duration),
]);
const restartWords = words(
  { none: RestartCondition.NONE, 'on-failure': RestartCondition.ON_FAILURE, any: RestartCondition.ANY },
  (word) => `invalid RestartCondition: "${word}"`,
);

const spread = table(SpreadOverSchema, [always('SpreadDescriptor', 'spreadDescriptor', text)]);
const placement = table(PlacementSchema, [
  field('Constraints', 'constraints', strings),
  field('Preferences', 'preferences', list(table(PlacementPreferenceSchema, [optional('Spread', 'spread', spread)]))),
  field('MaxReplicas', 'maxReplicas', uint64),
  field('Platforms', 'platforms', list(platform)),
]);

/** Addresses are swarmkit's own: Docker's JSON has no member for them. */
export const networkAttachmentConfig = table(NetworkAttachmentConfigSchema, [
  field('Target', 'target', text),
  field('Aliases', 'aliases', strings),
  field('DriverOpts', 'driverAttachmentOpts', map),
]);

/** The container spec; plugin and attachment runtimes are not taken, as Skein runs containers only. */
const runtime: Field<TaskSpec> = {
  encode: (spec, json) => {
    if (spec.runtime.case === 'container') json.ContainerSpec = containerSpec.encode(spec.runtime.value);
    if (spec.runtime.case === 'attachment') {
      json.NetworkAttachmentSpec = { ContainerID: spec.runtime.value.containerId };
    }
  },
  decode: (spec, json, path) => {
    const kind = text.decode(member(json, 'Runtime') ?? '', `${path}.Runtime`);
    if (kind === 'plugin') throw new SkeinError('Unimplemented', 'Skein does not run plugins as services.');
    if (kind !== '' && kind !== 'container') throw new SkeinError('InvalidArgument', 'unsupported runtime');
    const container = member(json, 'ContainerSpec');
    if (container === undefined) throw new SkeinError('InvalidArgument', mismatchedRuntime);
    spec.runtime = { case: 'container', value: containerSpec.decode(container, `${path}.ContainerSpec`) };
  },
};

const taskFields: readonly Field<TaskSpec>[] = [
  runtime,
  resourcesWithPids,
  optional('RestartPolicy', 'restart', restartPolicy),
  optional('Placement', 'placement', placement),
  field('Networks', 'networks', list(networkAttachmentConfig)),
  optional('LogDriver', 'logDriver', driver),
  always('ForceUpdate', 'forceUpdate', uint64),
];

/** A task's own spec, as `docker inspect` of a task shows it. */
export const taskSpec = table(TaskSpecSchema, [
  ...taskFields,
  {
    encode: ({ runtime }, json) => {
      if (runtime.case === 'attachment') json.Runtime = 'attachment';
    },
    decode: () => {},
  },
]);

/** A service's task template: also says its runtime (convert.serviceSpecFromGRPC). */
export const taskTemplate = table(TaskSpecSchema, [
  ...taskFields,
  {
    encode: ({ runtime }, json) => {
      if (runtime.case === 'container') json.Runtime = 'container';
      if (runtime.case === 'generic') json.Runtime = runtime.value.kind;
    },
    decode: () => {},
  },
]);
