/** A service of a compose file as a service spec of the API (docker/cli: cli/compose/convert). */
import type { JsonObject } from '../../../client/json.ts';
import { CommandError } from '../../../command/errors.ts';
import { parseDecimal } from '../../../command/units.ts';
import { capability } from '../../service/syntax.ts';
import type { Attachment, ComposeFile, ComposeService, Rollout } from '../compose/schema.ts';
import { mountOf } from './mounts.ts';
import { defaultNetwork, isUserDefined, networkName } from './objects.ts';
import { present, scoped, stackLabels } from './scope.ts';

/** The label that keeps the image as the file names it, before its digest is looked up (docker/cli: LabelImage). */
export const imageLabel = 'com.docker.stack.image';

/** The secrets and configs of a service, looked up in the swarm. */
export interface References {
  readonly secrets: JsonObject[];
  readonly configs: JsonObject[];
}

/** @returns the spec of one service of a stack. @throws CommandError in docker's words. */
export function serviceSpec(stack: string, name: string, file: ComposeFile, references: References): JsonObject {
  const service = file.services[name] ?? {};
  const deploy = service.deploy ?? {};
  const { placement = {} } = deploy;
  return present({
    Name: scoped(stack, name),
    Labels: { ...stackLabels(stack, deploy.labels), [imageLabel]: service.image ?? '' },
    TaskTemplate: present({
      ContainerSpec: containerSpec(stack, service, file, references),
      Resources: resourcesOf(deploy.resources ?? {}),
      RestartPolicy: restartPolicy(service),
      Placement: present({
        Constraints: placement.constraints,
        Preferences: placement.preferences?.map(({ spread }) => ({ Spread: { SpreadDescriptor: spread } })),
        ...(placement.max_replicas_per_node && { MaxReplicas: placement.max_replicas_per_node }),
      }),
      LogDriver: service.logging && present({ Name: service.logging.driver, Options: service.logging.options }),
      Networks: attachmentsOf(stack, name, service.networks ?? {}, file.networks),
      ForceUpdate: 0,
    }),
    Mode: modeOf(deploy.mode, deploy.replicas),
    UpdateConfig: deploy.update_config && rolloutOf(deploy.update_config),
    RollbackConfig: deploy.rollback_config && rolloutOf(deploy.rollback_config),
    EndpointSpec: present({ Mode: deploy.endpoint_mode?.toLowerCase(), Ports: portsOf(service) }),
  });
}

function containerSpec(stack: string, service: ComposeService, file: ComposeFile, references: References): JsonObject {
  return present({
    Image: service.image,
    Command: service.entrypoint,
    Args: service.command,
    Hostname: service.hostname,
    Hosts: service.extra_hosts?.map(hostLine),
    DNSConfig:
      service.dns || service.dns_search ? present({ Nameservers: service.dns, Search: service.dns_search }) : undefined,
    Healthcheck: service.healthcheck && healthcheckOf(service.healthcheck),
    Env: environmentOf(service.environment ?? {}),
    Labels: stackLabels(stack, service.labels),
    Dir: service.working_dir,
    User: service.user,
    Mounts: service.volumes?.map((volume) => mountOf(volume, stack, file.volumes)),
    StopGracePeriod: service.stop_grace_period,
    StopSignal: service.stop_signal,
    ...(service.tty && { TTY: true }),
    ...(service.stdin_open && { OpenStdin: true }),
    ...(service.read_only && { ReadOnly: true }),
    Secrets: references.secrets,
    Configs: references.configs,
    Privileges: service.credential_spec ? { CredentialSpec: credentialSpec(service.credential_spec) } : {},
    Isolation: service.isolation,
    Init: service.init,
    Sysctls: service.sysctls,
    ...capabilities(service),
    Ulimits: Object.entries(service.ulimits ?? {})
      .sort(([left], [right]) => (left < right ? -1 : 1))
      .map(([Name, { soft, hard }]) => ({ Name, Soft: soft, Hard: hard })),
    OomScoreAdj: service.oom_score_adj,
  });
}

/** For Windows containers: the engine refuses it, in its words. */
function credentialSpec({ config, file, registry }: NonNullable<ComposeService['credential_spec']>): JsonObject {
  return present({ Config: config, File: file, Registry: registry });
}

/** `host:address` → `address host`. */
function hostLine(item: string): string {
  const colon = item.indexOf(':');
  return `${item.slice(colon + 1).replace(/^\[(.+)\]$/, '$1')} ${item.slice(0, colon)}`;
}

function environmentOf(variables: Readonly<Record<string, string | null>>): string[] {
  return Object.entries(variables)
    .map(([name, value]) => (value === null ? name : `${name}=${value}`))
    .sort();
}

function healthcheckOf(check: NonNullable<ComposeService['healthcheck']>): JsonObject {
  if (check.disable) {
    if (check.test?.length) throw new CommandError("test and disable can't be set at the same time");
    return { Test: ['NONE'] };
  }
  return present({
    Test: check.test,
    Timeout: check.timeout,
    Interval: check.interval,
    Retries: check.retries,
    StartPeriod: check.start_period,
    StartInterval: check.start_interval,
  });
}

/** Adding goes before dropping, `ALL` covers every other. */
function capabilities({ cap_add = [], cap_drop = [] }: ComposeService): JsonObject {
  const effective = (names: readonly string[]): string[] => {
    const all = new Set(names.map(capability));
    return all.has('ALL') ? ['ALL'] : [...all].filter((name) => name !== 'RESET').sort();
  };
  const added = effective(cap_add);
  return present({
    CapabilityAdd: added,
    CapabilityDrop: effective(cap_drop).filter((name) => !added.includes(name)),
  });
}

function resourcesOf({
  limits,
  reservations,
}: NonNullable<NonNullable<ComposeService['deploy']>['resources']>): JsonObject {
  const amounts = ({ cpus, memory }: { cpus?: string | undefined; memory?: number | undefined }) => ({
    NanoCPUs: cpus ? parseDecimal(cpus) : undefined,
    MemoryBytes: memory,
  });
  return present({
    Limits: limits && present({ ...amounts(limits), Pids: limits.pids }),
    Reservations:
      reservations &&
      present({
        ...amounts(reservations),
        GenericResources: reservations.generic_resources?.map(
          ({ discrete_resource_spec: spec }): JsonObject =>
            spec ? { DiscreteResourceSpec: { Kind: spec.kind, Value: spec.value } } : {},
        ),
      }),
  });
}

/** What `deploy` says, otherwise what `restart` says in the words of `docker run`. */
function restartPolicy({ restart = '', deploy }: ComposeService): JsonObject | undefined {
  const policy = deploy?.restart_policy;
  if (policy)
    return present({
      Condition: policy.condition,
      Delay: policy.delay,
      MaxAttempts: policy.max_attempts,
      Window: policy.window,
    });
  const [name = '', count] = restart.split(':', 2);
  if (count && !/^\d+$/.test(count))
    throw new CommandError('invalid restart policy format: maximum retry count must be an integer');
  if (name === '' || name === 'no') return undefined;
  if (name === 'always' || name === 'unless-stopped') return { Condition: 'any' };
  if (name === 'on-failure') return { Condition: 'on-failure', MaxAttempts: Number(count ?? 0) };
  throw new CommandError(`unknown restart policy: ${restart}`);
}

function attachmentsOf(
  stack: string,
  service: string,
  networks: Readonly<Record<string, Attachment>>,
  declared: ComposeFile['networks'],
): JsonObject[] {
  const attachments = Object.keys(networks).length > 0 ? networks : { [defaultNetwork]: {} };
  return Object.entries(attachments)
    .map(([key, { aliases = [], driver_opts }]) => {
      if (!declared[key] && key !== defaultNetwork) throw new CommandError(`undefined network ${JSON.stringify(key)}`);
      const target = networkName(stack, key, declared[key]);
      const names = isUserDefined(target) ? [...aliases, service] : aliases;
      return { target, attachment: present({ Target: target, Aliases: names, DriverOpts: driver_opts }) };
    })
    .sort((left, right) => (left.target < right.target ? -1 : 1))
    .map(({ attachment }) => attachment);
}

function modeOf(mode = 'replicated', replicas?: number): JsonObject {
  if (mode.startsWith('global') && replicas !== undefined)
    throw new CommandError('replicas can only be used with replicated or replicated-job mode');
  switch (mode) {
    case 'global':
      return { Global: {} };
    case 'global-job':
      return { GlobalJob: {} };
    case 'replicated-job':
      return { ReplicatedJob: present({ MaxConcurrent: replicas, TotalCompletions: replicas }) };
    case 'replicated':
    case '':
      return { Replicated: present({ Replicas: replicas }) };
    default:
      throw new CommandError(`Unknown mode: ${mode}`);
  }
}

function rolloutOf(rollout: Rollout): JsonObject {
  return present({
    Parallelism: rollout.parallelism ?? 1,
    Delay: rollout.delay,
    FailureAction: rollout.failure_action,
    Monitor: rollout.monitor,
    MaxFailureRatio: rollout.max_failure_ratio ?? 0,
    Order: rollout.order,
  });
}

function portsOf({ ports = [] }: ComposeService): JsonObject[] {
  const published = (port: { readonly published?: number | undefined }) => port.published ?? 0;
  return [...ports]
    .sort((left, right) => published(left) - published(right))
    .map(({ protocol, target, mode, published: port }) =>
      present({ Protocol: protocol, TargetPort: target, PublishedPort: port, PublishMode: mode }),
    );
}
