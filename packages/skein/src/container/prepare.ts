/** What a container needs before it can start: its files in /etc, its snapshot, its record in containerd, its volumes. */
import { chmod, chown, mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SkeinError } from '../common/index.ts';
import { snapshotter, unlessNotFound } from './containerd/client.ts';
import type { Shim } from './containerd/shim-groups.ts';
import type { Context } from './context.ts';
import { openLease } from './images/content.ts';
import { findInit, initPath } from './init.ts';
import { filesPlace, makeMemoryDirectory, rootPlace, unmount } from './mounts.ts';
import { givenDevices } from './oci/devices.ts';
import { containerMounts } from './oci/mounts.ts';
import { layerDirectories, readRootFile } from './oci/rootfs.ts';
import { containerSpec } from './oci/spec.ts';
import type { OciSpec } from './oci/types.ts';
import { resolveUser } from './oci/user.ts';
import type { ContainerRecord } from './state.ts';
import type { ContainerFile } from './types.ts';

const runtimeName = 'io.containerd.runc.v2';
const specType = 'types.containerd.io/opencontainers/runtime-spec/1/Spec';
const idLabel = 'skein.container';

/** The container's own files: path inside → name in its directory. */
const etcFiles = new Map([
  ['/etc/resolv.conf', 'resolv.conf'],
  ['/etc/hostname', 'hostname'],
  ['/etc/hosts', 'hosts'],
]);

/** Writes hostname, hosts and resolv.conf into the container's directory. */
export async function writeEtcFiles(
  directory: string,
  contents: { hostname: string; hosts: string; resolvConf: string },
): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o710 });
  const files = { hostname: `${contents.hostname}\n`, hosts: contents.hosts, 'resolv.conf': contents.resolvConf };
  for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text, { mode: 0o644 });
}

/** Writes secrets and configs into memory. @returns where each is. */
export async function writeContainerFiles(
  runDirectory: string,
  files: readonly ContainerFile[],
): Promise<ContainerRecord['files']> {
  if (files.length === 0) return [];
  const directory = join(runDirectory, filesPlace);
  await makeMemoryDirectory(directory, 0o711);
  const written: ContainerRecord['files'] = [];
  for (const [position, file] of files.entries()) {
    const source = join(directory, String(position));
    await writeFile(source, file.contents, { mode: 0o600 });
    await chown(source, file.uid, file.gid);
    await chmod(source, file.mode);
    written.push({ path: file.path, source });
  }
  return written;
}

/** Takes the container's run directory away, with all that is mounted there. Safe to repeat. */
export async function removeRunDirectory(runDirectory: string): Promise<void> {
  for (const place of [filesPlace, rootPlace]) await unmount(join(runDirectory, place));
  await rm(runDirectory, { recursive: true, force: true });
}

/** Makes the container's file system and its containerd record, which keeps it. Safe to repeat. */
export async function prepareContainer(context: Context, record: ContainerRecord, topLayer: string): Promise<void> {
  const { containerd } = context;
  await discardContainer(context, record.id);
  await using lease = await openLease(containerd);
  const key = record.id;
  await containerd.snapshots.prepare({ snapshotter, key, parent: topLayer }, lease.options);
  const container = {
    id: record.id,
    labels: { [idLabel]: record.name },
    image: record.config.Image,
    runtime: { name: runtimeName },
    spec: { typeUrl: specType, value: Buffer.from('{}') },
    snapshotter,
    snapshotKey: key,
  };
  await containerd.containers.create({ container }, lease.options);
}

/** Takes the containerd record and the file system away. Safe to repeat. */
export async function discardContainer(context: Context, id: string): Promise<void> {
  await unlessNotFound(context.containerd.containers.delete({ id }));
  await unlessNotFound(context.containerd.snapshots.remove({ snapshotter, key: id }));
}

/** Sees that bind sources are there. @throws SkeinError InvalidArgument in Docker's words. */
export async function checkBindSources(record: ContainerRecord): Promise<void> {
  for (const mount of record.hostConfig.Mounts) {
    if (mount.Type !== 'bind' || !mount.Source) continue;
    if (mount.BindOptions?.CreateMountpoint) await mkdir(mount.Source, { recursive: true });
    if (!(await stat(mount.Source).catch(() => undefined))) {
      throw new SkeinError(
        'InvalidArgument',
        `invalid mount config for type "bind": bind source path does not exist: ${mount.Source}`,
      );
    }
  }
}

/** Computes the OCI specification and gives it to containerd. */
export async function writeSpec(context: Context, record: ContainerRecord, shim: Shim): Promise<void> {
  await checkBindSources(record);
  const spec = await buildSpec(context, record, shim.group);
  await context.containerd.containers.update({
    container: { id: record.id, spec: { typeUrl: specType, value: Buffer.from(JSON.stringify(spec)) } },
    updateMask: { paths: ['spec'] },
  });
}

async function buildSpec(context: Context, record: ContainerRecord, shimGroup: string): Promise<OciSpec> {
  const { mounts } = await context.containerd.snapshots.mounts({ snapshotter, key: record.id });
  const layers = layerDirectories(mounts);
  const directory = context.store.directoryOf(record.id);
  const user = resolveUser(
    record.config.User,
    {
      passwd: (await readRootFile(layers, '/etc/passwd')) ?? '',
      group: (await readRootFile(layers, '/etc/group')) ?? '',
    },
    record.hostConfig.GroupAdd,
  );
  return containerSpec({
    config: record.config,
    hostConfig: record.hostConfig,
    user,
    devices: await givenDevices(record.hostConfig),
    mounts: containerMounts({
      hostConfig: record.hostConfig,
      etc: new Map([...etcFiles].map(([path, name]) => [join(directory, name), path])),
      files: new Map([...record.files.map(({ path, source }) => [source, path] as const), ...initFile(record)]),
      volumeDirectory: context.volumeDirectory,
    }),
    networkNamespace: record.networkNamespace,
    shimGroup,
    cgroupsPath: join(context.cgroupParent, record.id),
    cgroupVersion: context.cgroupVersion,
    swapLimit: context.swapLimit,
  });
}

/** The init binary is bound into the container read-only, as dockerd does. */
function initFile({ hostConfig }: ContainerRecord): [source: string, path: string][] {
  const binary = hostConfig.Init ? findInit() : undefined;
  return binary === undefined ? [] : [[binary, initPath]];
}
