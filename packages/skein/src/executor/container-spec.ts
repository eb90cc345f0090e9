import { existsSync } from 'node:fs';
import type { Duration } from '@bufbuild/protobuf/wkt';
import { errorText, SkeinError } from '../common/index.ts';
import type { ContainerConfig, ContainerFile, Healthcheck, HostConfig, MountSpec } from '../container/types.ts';
import type { Dependencies } from '../swarm/agent/types.ts';
import type { ContainerSpec } from '../swarm/gen/specs_pb.js';
import {
  type ConfigReference,
  type Driver,
  type FileTarget,
  type HealthConfig,
  type Mount,
  Mount_BindOptions_Propagation,
  Mount_Type,
  Privileges_SeccompOpts_SeccompMode,
  type SecretReference,
} from '../swarm/gen/types_pb.js';
import { exposedPorts, portBindings } from './host-ports.ts';
import { swarmLabels } from './names.ts';
import { usesHostNetwork } from './overlay-network.ts';
import { expandPayload, expandTemplate, type PayloadGetters, type TemplateContext } from './template.ts';

/** Docker's default size of /dev/shm (moby daemon/config: DefaultShmSize). */
const defaultShmSize = 64 * 1024 * 1024;
/** Docker's default stop grace period for swarm tasks, in seconds. */
const defaultStopGraceSeconds = 10;
/** Where swarm puts secrets whose target is not absolute (swarmkit). */
const secretsDirectory = '/run/secrets';

/** @returns a protobuf Duration in nanoseconds, for Docker's JSON. */
function nanoseconds(duration: Duration | undefined): number {
  return duration ? Number(duration.seconds) * 1e9 + duration.nanos : 0;
}

/** @returns the grace period of a stop, in seconds. */
export function stopGraceSeconds(spec: ContainerSpec): number {
  return spec.stopGracePeriod ? Math.ceil(nanoseconds(spec.stopGracePeriod) / 1e9) : defaultStopGraceSeconds;
}

/**
 * @returns the hostname of a task's container: the service's, expanded, or the first 12 characters of the ID; in the
 * host's network that of the host.
 */
export function hostnameOf(spec: ContainerSpec, containerId: string, context: TemplateContext): string {
  if (spec.hostname !== '') return expandTemplate(spec.hostname, context);
  const host = usesHostNetwork(context.task) ? context.node.description?.hostname : undefined;
  return host ?? containerId.slice(0, 12);
}

/** @returns Docker's `Config` for a task's container. */
export function containerConfig(spec: ContainerSpec, containerId: string, context: TemplateContext): ContainerConfig {
  return {
    Hostname: hostnameOf(spec, containerId, context),
    User: spec.user,
    // Swarm's command replaces the entrypoint, its args the command (swarmkit ContainerSpec).
    Entrypoint: spec.command.length > 0 ? spec.command : null,
    Cmd: spec.args.length > 0 ? spec.args : null,
    Env: spec.env.map((variable) => expandTemplate(variable, context)),
    WorkingDir: spec.dir,
    Image: spec.image,
    ...exposedPorts(context.task),
    Labels: { ...spec.labels, ...swarmLabels(context.task) },
    Tty: spec.tty,
    OpenStdin: spec.openStdin,
    StopTimeout: stopGraceSeconds(spec),
    ...(spec.stopSignal === '' ? {} : { StopSignal: spec.stopSignal }),
    ...(spec.healthcheck ? { Healthcheck: healthcheck(spec.healthcheck) } : {}),
  };
}

function healthcheck(health: HealthConfig): Healthcheck {
  const numbers = {
    Interval: nanoseconds(health.interval),
    Timeout: nanoseconds(health.timeout),
    StartPeriod: nanoseconds(health.startPeriod),
    StartInterval: nanoseconds(health.startInterval),
    Retries: health.retries,
  };
  return { Test: health.test, ...Object.fromEntries(Object.entries(numbers).filter(([, number]) => number !== 0)) };
}

/** @returns Docker's `HostConfig` for a task's container. @throws SkeinError for a mount type that Skein does not have. */
export function hostConfig(spec: ContainerSpec, context: TemplateContext): HostConfig {
  const { limits, reservations, swapBytes } = context.task.spec?.resources ?? {};
  const log = context.task.spec?.logDriver ?? context.task.logDriver;
  return {
    Mounts: spec.mounts.map((mount) => mountSpec(mount, context)),
    ...(usesHostNetwork(context.task) ? { NetworkMode: 'host' } : {}),
    ...portBindings(context.task),
    Memory: Number(limits?.memoryBytes ?? 0n),
    MemoryReservation: Number(reservations?.memoryBytes ?? 0n),
    ...(swapBytes === undefined ? {} : { MemorySwap: Number(limits?.memoryBytes ?? 0n) + Number(swapBytes) }),
    NanoCpus: Number(limits?.nanoCpus ?? 0n),
    PidsLimit: Number(spec.pidsLimit),
    CapAdd: spec.capabilityAdd,
    CapDrop: spec.capabilityDrop,
    ReadonlyRootfs: spec.readOnly,
    Init: spec.init ?? false,
    Sysctls: spec.sysctls,
    Ulimits: spec.ulimits.map((limit) => ({ Name: limit.name, Soft: Number(limit.soft), Hard: Number(limit.hard) })),
    OomScoreAdj: Number(spec.oomScoreAdj),
    GroupAdd: spec.groups,
    ShmSize: defaultShmSize,
    LogConfig: { Type: log?.name || 'json-file', Config: log?.options ?? {} },
    SecurityOpt: securityOptions(spec),
  };
}

function securityOptions(spec: ContainerSpec): string[] {
  const privileges = spec.privileges;
  const options: string[] = [];
  if (privileges?.noNewPrivileges) options.push('no-new-privileges');
  if (privileges?.seccomp?.mode === Privileges_SeccompOpts_SeccompMode.UNCONFINED) options.push('seccomp=unconfined');
  if (privileges?.seccomp?.mode === Privileges_SeccompOpts_SeccompMode.CUSTOM) {
    options.push(`seccomp=${Buffer.from(privileges.seccomp.profile).toString('utf8')}`);
  }
  return options;
}

function mountSpec(mount: Mount, context: TemplateContext): MountSpec {
  const common = { Target: expandTemplate(mount.target, context), ReadOnly: mount.readOnly };
  switch (mount.type) {
    case Mount_Type.BIND:
      return {
        ...common,
        Type: 'bind',
        Source: expandTemplate(mount.source, context),
        BindOptions: {
          Propagation:
            Mount_BindOptions_Propagation[
              mount.bindOptions?.propagation ?? Mount_BindOptions_Propagation.RPRIVATE
            ]?.toLowerCase() ?? 'rprivate',
          NonRecursive: mount.bindOptions?.nonRecursive ?? false,
          CreateMountpoint: mount.bindOptions?.createMountpoint ?? false,
        },
      };
    case Mount_Type.TMPFS:
      return {
        ...common,
        Type: 'tmpfs',
        TmpfsOptions: {
          SizeBytes: Number(mount.tmpfsOptions?.sizeBytes ?? 0n),
          // 0 is what a client sends that gave a size only.
          Mode: mount.tmpfsOptions?.mode || 0o1777,
        },
      };
    case Mount_Type.VOLUME:
      checkVolume(mount);
      return { ...common, Type: 'volume', Source: expandTemplate(mount.source, context) };
    default:
      throw new SkeinError(
        'InvalidArgument',
        `invalid mount type ${Mount_Type[mount.type]} for ${mount.target}: use bind, tmpfs or volume`,
      );
  }
}

/** A volume is a directory of its host: what would make it something else is refused, not ignored. */
function checkVolume({ target, volumeOptions }: Mount): void {
  const options = Object.keys(volumeOptions?.driverConfig?.options ?? {});
  const refuse = (what: string, remedy: string) => {
    throw new SkeinError('InvalidArgument', `volume mount ${target}: ${what} not supported: ${remedy}`);
  };
  if (options.length > 0)
    refuse(`driver options (${options.join(', ')}) are`, 'mount it on the host and use a bind mount');
  if (volumeOptions?.subpath) refuse('a subpath is', 'use a volume of its own');
  if (volumeOptions?.noCopy) refuse('volume-nocopy is', "leave it out: a new volume begins with the image's files");
}

/** Sees that the sources of bind mounts are there. @throws SkeinError in swarmkit's words (executor/container: checkMounts). */
export function checkBindSources(spec: ContainerSpec, context: TemplateContext): void {
  for (const mount of spec.mounts) {
    if (mount.type !== Mount_Type.BIND || mount.bindOptions?.createMountpoint) continue;
    const source = expandTemplate(mount.source, context);
    if (!existsSync(source))
      throw new SkeinError('InvalidArgument', `invalid bind mount source, source path not found: ${source}`);
  }
}

/**
 * @returns the secrets and configs of a task as files, templated ones expanded.
 * @throws Error when one was not assigned to this node or its template cannot be expanded.
 */
export function taskFiles(spec: ContainerSpec, dependencies: Dependencies, context: TemplateContext): ContainerFile[] {
  const secretData = ({ secretId, secretName }: SecretReference) =>
    dataOf('secret', secretId, secretName, dependencies.secret(secretId)?.spec);
  const configData = ({ configId, configName }: ConfigReference) =>
    dataOf('config', configId, configName, dependencies.config(configId)?.spec);
  const getters: PayloadGetters = {
    secret: (target) =>
      textOf(
        spec.secrets.find(({ file }) => file?.name === target),
        secretData,
      ),
    config: (target) =>
      textOf(
        spec.configs.find((reference) => fileOf(reference)?.name === target),
        configData,
      ),
    env: (name) => spec.env.find((variable) => variable.startsWith(`${name}=`))?.slice(name.length + 1),
  };
  const contents = (payload: Payload) => {
    if (payload.templating?.name !== 'golang') return payload.data;
    try {
      return Buffer.from(expandPayload(Buffer.from(payload.data).toString('utf8'), context, getters));
    } catch (error) {
      throw new Error(`failed to expand templated ${payload.kind} ${payload.id}: ${errorText(error)}`, {
        cause: error,
      });
    }
  };
  const files: ContainerFile[] = [];
  for (const reference of spec.secrets)
    if (reference.file) files.push(file(reference.file, secretsDirectory, contents(secretData(reference))));
  for (const reference of spec.configs) {
    const target = fileOf(reference);
    if (target) files.push(file(target, '/', contents(configData(reference))));
  }
  return files;
}

interface Payload {
  readonly kind: 'secret' | 'config';
  readonly id: string;
  readonly data: Uint8Array;
  readonly templating: Driver | undefined;
}

function dataOf(
  kind: Payload['kind'],
  id: string,
  name: string,
  spec: { data: Uint8Array; templating?: Driver | undefined } | undefined,
): Payload {
  if (!spec) throw new Error(`${kind} not found: ${name}`);
  return { kind, id, data: spec.data, templating: spec.templating };
}

function textOf<T>(reference: T | undefined, read: (reference: T) => Payload): string | undefined {
  return reference === undefined ? undefined : Buffer.from(read(reference).data).toString('utf8');
}

function fileOf({ target }: ConfigReference): FileTarget | undefined {
  return target.case === 'file' ? target.value : undefined;
}

function file(target: FileTarget, directory: string, contents: Uint8Array): ContainerFile {
  const path = target.name.startsWith('/') ? target.name : `${directory === '/' ? '' : directory}/${target.name}`;
  return { path, contents, uid: Number(target.uid || 0), gid: Number(target.gid || 0), mode: target.mode & 0o777 };
}
