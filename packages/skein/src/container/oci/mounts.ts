/** The mounts of a container: Docker's default ones, its own files of /etc, and what the user asks for. */
import { join } from 'node:path';
import { SkeinError } from '../../common/index.ts';
import type { HostConfig, MountPoint, MountSpec } from '../types.ts';
import type { OciMount } from './types.ts';

/** moby daemon/pkg/oci defaults.go: DefaultLinuxSpec; `gid=5` is tty. What is privileged writes into /sys. */
function defaultMounts({ ShmSize, Privileged, IpcMode }: HostConfig): OciMount[] {
  const secure = ['nosuid', 'noexec', 'nodev'];
  const access = Privileged ? 'rw' : 'ro';
  const special = (destination: string, type: string, options: string[], source = type): OciMount => ({
    destination,
    type,
    source,
    options,
  });
  return [
    special('/proc', 'proc', secure),
    special('/dev', 'tmpfs', ['nosuid', 'strictatime', 'mode=755', 'size=65536k']),
    special('/dev/pts', 'devpts', ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5']),
    special('/sys', 'sysfs', [...secure, access]),
    special('/sys/fs/cgroup', 'cgroup', [access, ...secure]),
    special('/dev/mqueue', 'mqueue', secure),
    IpcMode === 'host'
      ? bind('/dev/shm', '/dev/shm', [])
      : special('/dev/shm', 'tmpfs', [...secure, 'mode=1777', `size=${ShmSize}`], 'shm'),
  ];
}

const bind = (source: string, destination: string, options: string[]): OciMount => ({
  destination,
  type: 'bind',
  source,
  options: ['rbind', ...options],
});

/** @returns a user's mount in the OCI's terms. @param volumeDirectory where the volumes are. */
function userMount(mount: MountSpec, volumeDirectory: string): OciMount {
  const access = mount.ReadOnly ? 'ro' : 'rw';
  switch (mount.Type) {
    case 'tmpfs': {
      const { SizeBytes, Mode } = mount.TmpfsOptions ?? {};
      const options = ['noexec', 'nosuid', 'nodev', access];
      if (SizeBytes) options.push(`size=${SizeBytes}`);
      if (Mode !== undefined) options.push(`mode=${Mode.toString(8)}`);
      return { destination: mount.Target, type: 'tmpfs', source: 'tmpfs', options };
    }
    case 'volume':
      return bind(volumePath(volumeDirectory, mount.Source ?? ''), mount.Target, [access, 'rprivate']);
    case 'bind': {
      const propagation = mount.BindOptions?.Propagation || 'rprivate';
      const base = bind(mount.Source ?? '', mount.Target, [access, propagation]);
      if (mount.BindOptions?.NonRecursive) base.options[0] = 'bind';
      return base;
    }
  }
}

/** @returns where a volume's contents are. */
export function volumePath(volumeDirectory: string, name: string): string {
  return join(volumeDirectory, name, '_data');
}

const depth = (path: string): number => path.split('/').filter(Boolean).length;

/** @returns all mounts, outer ones first; a user's mount replaces a default one at the same place. */
export function containerMounts(options: {
  hostConfig: HostConfig;
  /** Host path → path inside, as for /etc/hosts. */
  etc: ReadonlyMap<string, string>;
  /** Host path → path inside, read-only. */
  files: ReadonlyMap<string, string>;
  volumeDirectory: string;
}): OciMount[] {
  const own = options.hostConfig.Mounts.map((mount) => userMount(mount, options.volumeDirectory));
  const etc = [...options.etc].map(([source, target]) => bind(source, target, ['rprivate']));
  const files = [...options.files].map(([source, target]) => bind(source, target, ['ro', 'rprivate']));
  const replaced = new Set(own.map((mount) => mount.destination));
  const added = [...etc, ...own, ...files].filter((mount) => own.includes(mount) || !replaced.has(mount.destination));
  added.sort((a, b) => depth(a.destination) - depth(b.destination));
  const defaults = defaultMounts(options.hostConfig);
  return [...defaults.filter((mount) => !replaced.has(mount.destination)), ...added];
}

/** Checks a user's mounts. @throws SkeinError InvalidArgument in Docker's words. */
export function validateMounts(mounts: readonly MountSpec[]): void {
  const seen = new Set<string>();
  for (const { Type, Source, Target } of mounts) {
    const invalid = (why: string): SkeinError =>
      new SkeinError('InvalidArgument', `invalid mount config for type "${Type}": ${why}`);
    if (Target === '') throw invalid('field Target must not be empty');
    if (!Target.startsWith('/')) throw invalid(`invalid mount path: '${Target}' mount path must be absolute`);
    if (Target.replace(/\/+$/, '') === '') throw invalid("invalid specification: destination can't be '/'");
    if (Type === 'bind' && !Source) throw invalid('field Source must not be empty');
    if (Type === 'bind' && !Source?.startsWith('/')) {
      throw invalid(`invalid mount path: '${Source}' mount path must be absolute`);
    }
    if (Type === 'tmpfs' && Source) throw invalid('field Source must not be specified');
    if (seen.has(Target)) throw new SkeinError('InvalidArgument', `Duplicate mount point: ${Target}`);
    seen.add(Target);
  }
}

/** @returns the modes that the user wrote behind `--volume source:target:`, by target. */
export function bindModes({ Binds = [] }: HostConfig): ReadonlyMap<string, string> {
  return new Map(
    Binds.flatMap((bind) => {
      const [, target = '', mode] = bind.split(':');
      return mode ? [[target, mode] as const] : [];
    }),
  );
}

/** moby daemon: setBindModeIfNull. An image's own volumes have no mode. */
const volumeMode = 'z';

/** @param mode as the user wrote it; by default Docker's. @returns a mount as Docker's inspect shows it. */
export function mountPoint(
  mount: MountSpec,
  volumeDirectory: string,
  mode = mount.Type === 'volume' ? volumeMode : '',
): MountPoint {
  const base = { Destination: mount.Target, Mode: mode, RW: !mount.ReadOnly };
  if (mount.Type === 'tmpfs') return { Type: 'tmpfs', Source: '', ...base, Propagation: '' };
  if (mount.Type === 'bind') {
    return {
      Type: 'bind',
      Source: mount.Source ?? '',
      ...base,
      Propagation: mount.BindOptions?.Propagation || 'rprivate',
    };
  }
  const name = mount.Source ?? '';
  const volume = { Type: 'volume', Name: name, Source: volumePath(volumeDirectory, name), Driver: 'local' };
  return { ...volume, ...base, Propagation: '' };
}
