import type { Duration } from '@bufbuild/protobuf/wkt';
import { durationMs } from '@bufbuild/protobuf/wkt';
import { RpcError } from '../../../common/index.ts';
import {
  type ContainerSpec,
  ContainerSpec_Isolation,
  type EndpointSpec,
  EndpointSpec_ResolutionMode,
  type ServiceSpec,
  type TaskSpec,
} from '../../gen/specs_pb.js';
import type { HealthConfig, ResourceRequirements, Resources, RestartPolicy, UpdateConfig } from '../../gen/types_pb.js';
import { isIngressPort } from '../allocator/index.ts';
import { parseConstraints } from '../constraints.ts';
import { isImageReference } from './image.ts';
import { checkName } from './names.ts';

/** swarmkit manager/controlapi/service.go */
const minNanoCpus = 1_000_000n;
const minMemoryBytes = 4n * 1024n * 1024n;
const nanosPerCpu = 1e9;
const minHealthDurationMs = 1;
const maxPort = 65_535;
const maxReplicas = 2n ** 63n - 1n;
/** Tasks that a service makes at once: some 20 KB each in the manager, which a mistyped number must not end. */
const maxTasksAtOnce = 10_000n;
const updateOfJob = 'Jobs may not have an update config';

const invalid = (text: string) => new RpcError('InvalidArgument', text);

/** Checks what can be checked of a service without looking at others. @throws RpcError InvalidArgument, Unimplemented */
export function checkServiceSpec(spec: ServiceSpec): void {
  checkName(spec.annotations);
  checkTaskSpec(spec.task);
  checkMode(spec);
  checkUpdateConfig(spec.update);
  checkUpdateConfig(spec.rollback);
  if (spec.endpoint) checkEndpoint(spec.endpoint);
}

function checkMode({ mode, update }: ServiceSpec): void {
  switch (mode.case) {
    case 'replicated':
      if (mode.value.replicas > maxReplicas) throw invalid('Number of replicas must be non-negative');
      checkTasksAtOnce('replicas', mode.value.replicas);
      return;
    case 'global':
      return;
    case 'replicatedJob':
      if (mode.value.maxConcurrent > maxReplicas) throw invalid('Maximum concurrent jobs must not be negative');
      if (mode.value.totalCompletions > maxReplicas) throw invalid('Total completed jobs must not be negative');
      checkTasksAtOnce('concurrent jobs', mode.value.maxConcurrent);
      if (update) throw invalid(updateOfJob);
      return;
    case 'globalJob':
      if (update) throw invalid(updateOfJob);
      return;
    default:
      throw invalid('Unrecognized service mode');
  }
}

function checkTasksAtOnce(what: string, count: bigint): void {
  if (count > maxTasksAtOnce) throw invalid(`${count} ${what} are more than the ${maxTasksAtOnce} of a service here`);
}

function checkTaskSpec(spec: TaskSpec | undefined): void {
  checkResources(spec?.resources);
  checkRestart(spec?.restart);
  parseConstraints(spec?.placement?.constraints ?? []);
  switch (spec?.runtime.case) {
    case 'container':
      checkReferences(spec.runtime.value);
      checkContainer(spec.runtime.value);
      return;
    case undefined:
      throw invalid('TaskSpec: missing runtime');
    default:
      throw new RpcError('Unimplemented', 'RuntimeSpec: unimplemented runtime in service spec');
  }
}

function checkResources(requirements: ResourceRequirements | undefined): void {
  for (const resources of [requirements?.limits, requirements?.reservations]) if (resources) checkAmounts(resources);
}

function checkAmounts({ nanoCpus, memoryBytes }: Resources): void {
  if (nanoCpus !== 0n && nanoCpus < minNanoCpus)
    throw invalid(
      `invalid cpu value ${Number(nanoCpus) / nanosPerCpu}: Must be at least ${Number(minNanoCpus) / nanosPerCpu}`,
    );
  if (memoryBytes !== 0n && memoryBytes < minMemoryBytes)
    throw invalid(`invalid memory value ${memoryBytes}: Must be at least 4MiB`);
}

function isNegative(duration: Duration | undefined): boolean {
  return duration !== undefined && durationMs(duration) < 0;
}

function checkRestart(policy: RestartPolicy | undefined): void {
  if (isNegative(policy?.delay)) throw invalid('TaskSpec: restart-delay cannot be negative');
  if (isNegative(policy?.window)) throw invalid('TaskSpec: restart-window cannot be negative');
}

function checkUpdateConfig(config: UpdateConfig | undefined): void {
  if (!config) return;
  if (isNegative(config.delay)) throw invalid('TaskSpec: update-delay cannot be negative');
  if (isNegative(config.monitor)) throw invalid('TaskSpec: update-monitor cannot be negative');
  if (config.maxFailureRatio < 0 || config.maxFailureRatio > 1)
    throw invalid('TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1');
}

function checkContainer(container: ContainerSpec): void {
  if (container.image === '') throw invalid('ContainerSpec: image reference must be provided');
  if (!isImageReference(container.image))
    throw invalid(`ContainerSpec: ${JSON.stringify(container.image)} is not a valid repository/tag`);
  const targets = new Set<string>();
  for (const { target } of container.mounts) {
    if (targets.has(target)) throw invalid(`ContainerSpec: duplicate mount point: ${target}`);
    targets.add(target);
  }
  // Ours: dockerd takes these and its agents reject the tasks, or ignore what was asked for.
  if (container.isolation !== ContainerSpec_Isolation.DEFAULT)
    throw invalid('ContainerSpec: isolation is for Windows containers: use default');
  if (container.privileges?.credentialSpec)
    throw invalid('ContainerSpec: credential specs are for Windows containers: create the service without one');
  if (container.healthcheck) checkHealth(container.healthcheck);
}

function checkHealth(health: HealthConfig): void {
  const durations = {
    Interval: health.interval,
    Timeout: health.timeout,
    StartPeriod: health.startPeriod,
    StartInterval: health.startInterval,
  };
  for (const [name, duration] of Object.entries(durations)) {
    const ms = duration ? durationMs(duration) : 0;
    if (duration && (duration.seconds !== 0n || duration.nanos !== 0) && ms < minHealthDurationMs)
      throw invalid(`ContainerSpec: ${name} in HealthConfig cannot be less than 1ms`);
  }
  if (health.retries < 0) throw invalid('ContainerSpec: Retries in HealthConfig cannot be negative');
}

/** Secrets and configs are named with their ID and put at different places. */
function checkReferences({ secrets, configs }: ContainerSpec): void {
  const secretTargets = new Map<string, string>();
  for (const { secretId, secretName, file } of secrets) {
    if (secretId === '' || secretName === '') throw invalid('malformed secret reference');
    if (!file) throw invalid('malformed secret reference, no target provided');
    checkTarget('secret', secretTargets, secretName, file.name);
  }
  const configTargets = new Map<string, string>();
  for (const { configId, configName, target } of configs) {
    if (configId === '' || configName === '') throw invalid('malformed config reference');
    if (target.case === undefined) throw invalid('malformed config reference, no target provided');
    if (target.case === 'file') checkTarget('config', configTargets, configName, target.value.name);
  }
}

function checkTarget(kind: 'secret' | 'config', targets: Map<string, string>, name: string, target: string): void {
  if (target === '') throw invalid(`malformed file ${kind} reference, invalid target file name provided`);
  const other = targets.get(target);
  if (other !== undefined)
    throw invalid(`${kind} references '${other}' and '${name}' have a conflicting target: '${target}'`);
  targets.set(target, name);
}

function checkEndpoint(endpoint: EndpointSpec): void {
  const published = new Set<string>();
  for (const port of endpoint.ports) {
    if (endpoint.mode === EndpointSpec_ResolutionMode.DNSRR && isIngressPort(port))
      throw invalid("EndpointSpec: port published with ingress mode can't be used with dnsrr mode");
    // Ours: dockerd takes any number and the service never works.
    if (port.targetPort < 1 || port.targetPort > maxPort)
      throw invalid(`EndpointSpec: target port ${port.targetPort} is not a port: use 1 to ${maxPort}`);
    if (port.publishedPort > maxPort)
      throw invalid(
        `EndpointSpec: published port ${port.publishedPort} is not a port: use 1 to ${maxPort}, or 0 for any`,
      );
    if (port.publishedPort === 0) continue;
    const key = `${port.protocol}/${port.publishedPort}`;
    if (published.has(key)) throw invalid('EndpointSpec: duplicate published ports provided');
    published.add(key);
  }
}
