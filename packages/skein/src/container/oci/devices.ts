/** Devices of the host that a container is given: `--device`, `--device-cgroup-rule`, and all of them with `--privileged`. */
import { lstat, readdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { SkeinError } from '../../common/index.ts';
import type { DeviceMapping, HostConfig } from '../types.ts';
import type { DeviceRule, OciDevice } from './types.ts';

/** What a container may do with devices, and which ones are in its /dev besides those that are always there. */
export interface GivenDevices {
  readonly devices: OciDevice[];
  readonly rules: DeviceRule[];
}

/** Devices by major and minor: null, zero, full, random, urandom, tty, console are allowed, fuse is not. */
const alwaysAllowed: readonly (readonly [number, number])[] = [
  [1, 5],
  [1, 3],
  [1, 9],
  [1, 8],
  [5, 0],
  [5, 1],
];
const defaultRules: readonly DeviceRule[] = [
  { allow: false, access: 'rwm' },
  ...alwaysAllowed.map(([major, minor]) => ({ allow: true, type: 'c', major, minor, access: 'rwm' })),
  { allow: false, type: 'c', major: 10, minor: 229, access: 'rwm' },
];

/** Parts of the host's /dev that a container has of its own (containerd oci: getDevices). */
const ownPlaces = new Set(['pts', 'shm', 'fd', 'mqueue', 'console', '.lxc', '.lxd-mounts', '.udev']);

/** @throws SkeinError InvalidArgument for a rule that is none, in Docker's words. */
export function deviceRule(text: string): DeviceRule {
  const match = /^([acb]) (\d+|\*):(\d+|\*) ([rwm]{1,3})$/.exec(text);
  if (!match) throw new SkeinError('InvalidArgument', `invalid device cgroup rule format: '${text}'`);
  const [, type = '', major = '', minor = '', access = ''] = match;
  return {
    allow: true,
    type,
    ...(major !== '*' && { major: Number(major) }),
    ...(minor !== '*' && { minor: Number(minor) }),
    access,
  };
}

/** @returns what the host has now. @throws SkeinError InvalidArgument in Docker's words for a device that is not there. */
export async function givenDevices(host: HostConfig): Promise<GivenDevices> {
  const asked: { devices: OciDevice[]; access: string }[] = [];
  for (const mapping of host.Devices ?? [])
    asked.push({ devices: await mappedDevices(mapping), access: mapping.CgroupPermissions || 'rwm' });
  const own = asked.flatMap(({ devices }) => devices);
  if (host.Privileged) {
    const taken = new Set(own.map(({ path }) => path));
    const others = (await devicesBelow('/dev', '/dev')).filter(({ path }) => !taken.has(path));
    return { devices: [...others, ...own], rules: [{ allow: true, access: 'rwm' }] };
  }
  const rules = asked.flatMap(({ devices, access }) =>
    devices.map(({ type, major, minor }) => ({ allow: true, type, major, minor, access })),
  );
  return { devices: own, rules: [...defaultRules, ...rules, ...(host.DeviceCgroupRules ?? []).map(deviceRule)] };
}

async function mappedDevices({ PathOnHost, PathInContainer }: DeviceMapping): Promise<OciDevice[]> {
  const inside = PathInContainer || PathOnHost;
  const failed = (why: string) =>
    new SkeinError(
      'InvalidArgument',
      `error gathering device information while adding custom device "${PathOnHost}": ${why}`,
    );
  const path = await realpath(PathOnHost).catch(() => undefined);
  if (path === undefined) throw failed('no such file or directory');
  if (!(await lstat(path)).isDirectory()) {
    const device = await deviceAt(path, inside);
    if (device === undefined) throw failed('not a device node');
    return [device];
  }
  const devices = await devicesBelow(path, inside);
  if (devices.length === 0) throw failed('no such file or directory');
  return devices;
}

/** @returns the devices of a directory of the host and of those below it. */
async function devicesBelow(directory: string, inside: string): Promise<OciDevice[]> {
  const found: OciDevice[] = [];
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    if (ownPlaces.has(entry.name)) continue;
    const [path, target] = [join(directory, entry.name), join(inside, entry.name)];
    if (entry.isDirectory()) found.push(...(await devicesBelow(path, target)));
    else if (entry.isCharacterDevice() || entry.isBlockDevice()) {
      const device = await deviceAt(path, target);
      if (device !== undefined) found.push(device);
    }
  }
  return found;
}

const permissionBits = 0o777n;

/** @returns undefined for what is no device, or has gone. */
async function deviceAt(path: string, inside: string): Promise<OciDevice | undefined> {
  const stat = await lstat(path, { bigint: true }).catch(() => undefined);
  if (!stat?.isCharacterDevice() && !stat?.isBlockDevice()) return undefined;
  return {
    path: inside,
    type: stat.isBlockDevice() ? 'b' : 'c',
    major: majorOf(stat.rdev),
    minor: minorOf(stat.rdev),
    fileMode: Number(stat.mode & permissionBits),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
  };
}

/** glibc's sys/sysmacros.h: gnu_dev_major, gnu_dev_minor. */
const majorOf = (device: bigint): number => Number(((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xfffff000n));
const minorOf = (device: bigint): number => Number((device & 0xffn) | ((device >> 12n) & 0xffffff00n));
