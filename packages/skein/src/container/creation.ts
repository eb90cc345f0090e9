/** How a container comes and goes: what is checked, its record, files, snapshot and volumes. */
import { join } from 'node:path';
import { newHexId, SkeinError } from '../common/index.ts';
import type { Context } from './context.ts';
import { findInit } from './init.ts';
import { containerCapabilities } from './oci/capabilities.ts';
import { deviceRule } from './oci/devices.ts';
import { bindModes, mountPoint, validateMounts } from './oci/mounts.ts';
import type { ResolvedConfig } from './oci/process.ts';
import { securityOptions } from './oci/spec.ts';
import {
  checkBindSources,
  discardContainer,
  prepareContainer,
  removeRunDirectory,
  writeContainerFiles,
  writeEtcFiles,
} from './prepare.ts';
import { deleteTask } from './process/exit.ts';
import { logLimits } from './process/log-file.ts';
import { nameForm } from './register.ts';
import { type ContainerRecord, initialState } from './state.ts';
import { nowText } from './time.ts';
import type { ContainerCreate, MountSpec } from './types.ts';
import { prepareVolumes, removeAnonymousVolumes } from './volumes.ts';

/** Checks what a start would refuse. @throws SkeinError InvalidArgument. */
export function validateCreate(spec: ContainerCreate): void {
  const { hostConfig } = spec;
  if (hostConfig.Init && findInit() === undefined) {
    throw new SkeinError(
      'InvalidArgument',
      'no init binary on this host (docker-init or tini-static): install the package tini, or create the container without --init',
    );
  }
  validateMounts(hostConfig.Mounts);
  logLimits(hostConfig.LogConfig);
  securityOptions(hostConfig.SecurityOpt);
  containerCapabilities(hostConfig.CapAdd, hostConfig.CapDrop);
  for (const rule of hostConfig.DeviceCgroupRules ?? []) deviceRule(rule);
  for (const { Type, Source } of hostConfig.Mounts) {
    if (Type === 'volume' && Source && !nameForm.test(Source)) {
      throw new SkeinError(
        'InvalidArgument',
        `create ${Source}: "${Source}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`,
      );
    }
  }
}

/** Makes all that a container has; what a failure leaves is taken away again. @returns its record, on disk as well. */
export async function createContainer(
  context: Context,
  spec: ContainerCreate,
  config: ResolvedConfig,
  image: { readonly id: string; readonly topLayer: string },
): Promise<ContainerRecord> {
  const record = recordOf(context, spec, config, image.id);
  await context.store.save(record);
  try {
    await checkBindSources(record);
    await writeEtcFiles(context.store.directoryOf(spec.id), {
      hostname: config.Hostname,
      hosts: spec.hosts,
      resolvConf: spec.resolvConf,
    });
    record.files = await writeContainerFiles(join(context.runDirectory, spec.id), spec.files ?? []);
    await prepareContainer(context, record, image.topLayer);
    await prepareVolumes(context, record);
    record.phase = 'ready';
    await context.store.save(record);
  } catch (error) {
    await releaseContainer(context, record);
    throw error;
  }
  return record;
}

function recordOf(context: Context, spec: ContainerCreate, config: ResolvedConfig, imageId: string): ContainerRecord {
  const wanted = new Set(spec.hostConfig.Mounts.map(({ Target }) => Target));
  const imageVolumes: MountSpec[] = Object.keys(config.Volumes ?? {})
    .filter((path) => !wanted.has(path))
    .map((Target) => ({ Type: 'volume', Source: newHexId(), Target }));
  const anonymous = [...imageVolumes];
  const modes = new Map([...bindModes(spec.hostConfig), ...imageVolumes.map(({ Target }) => [Target, ''] as const)]);
  const mounts = [...spec.hostConfig.Mounts, ...imageVolumes].map((mount) => {
    if (mount.Type !== 'volume' || mount.Source) return mount;
    const named = { ...mount, Source: newHexId() };
    anonymous.push(named);
    return named;
  });
  return {
    version: 1,
    phase: 'creating',
    id: spec.id,
    name: spec.name,
    created: nowText(),
    imageId,
    config,
    hostConfig: { ...spec.hostConfig, Mounts: mounts },
    mountPoints: mounts.map((mount) => mountPoint(mount, context.volumeDirectory, modes.get(mount.Target))),
    anonymousVolumes: anonymous.map(({ Source }) => Source ?? ''),
    networkNamespace: spec.networkNamespace,
    restartCount: 0,
    files: [],
    state: initialState(),
  };
}

/** Takes all that a container has, its record last. Safe to repeat. */
export async function releaseContainer(context: Context, record: ContainerRecord): Promise<void> {
  await deleteTask(context, record.id);
  await discardContainer(context, record.id);
  await removeRunDirectory(join(context.runDirectory, record.id));
  await removeAnonymousVolumes(context, record);
  await context.store.remove(record.id);
}
