/** What a service runs with where its spec is silent (swarmkit api/defaults/service.go), for `insertDefaults`. */
import { clone, create } from '@bufbuild/protobuf';
import { type Duration, DurationSchema } from '@bufbuild/protobuf/wkt';
import { type Service, ServiceSchema } from '../../swarm/gen/objects_pb.js';
import { ContainerSpec_DNSConfigSchema, type TaskSpec } from '../../swarm/gen/specs_pb.js';
import {
  PlacementSchema,
  ResourceRequirementsSchema,
  RestartPolicy_RestartCondition as RestartCondition,
  RestartPolicySchema,
  type UpdateConfig,
  UpdateConfigSchema,
} from '../../swarm/gen/types_pb.js';

const seconds = (count: number): Duration => create(DurationSchema, { seconds: BigInt(count) });
const stopGraceSeconds = 10;
const restartDelaySeconds = 5;
const monitorSeconds = 5;

/** @returns a copy of the service whose spec says everything. */
export function withDefaults(service: Service): Service {
  const copy = clone(ServiceSchema, service);
  if (copy.spec?.task !== undefined) fillTask(copy.spec.task);
  if (copy.spec !== undefined) {
    copy.spec.update = updateConfig(copy.spec.update);
    copy.spec.rollback = updateConfig(copy.spec.rollback);
  }
  return copy;
}

function fillTask(task: TaskSpec): void {
  if (task.runtime.case === 'container') {
    const container = task.runtime.value;
    container.stopGracePeriod ??= seconds(stopGraceSeconds);
    container.dnsConfig ??= create(ContainerSpec_DNSConfigSchema);
  }
  task.resources ??= create(ResourceRequirementsSchema);
  task.restart ??= create(RestartPolicySchema, { condition: RestartCondition.ANY });
  task.restart.delay ??= seconds(restartDelaySeconds);
  task.placement ??= create(PlacementSchema);
}

/** Pause on failure and stop-first are the enums' zeros. */
function updateConfig(given: UpdateConfig | undefined): UpdateConfig {
  const config = given ?? create(UpdateConfigSchema, { parallelism: 1n });
  config.monitor ??= seconds(monitorSeconds);
  return config;
}
