/** Options of `docker run` that Skein does not have: asked for, they are refused in words and never dropped. */
import { notBuilt } from '../errors.ts';
import { isObject, type JsonObject, member } from '../json.ts';

/** Member of HostConfig → the flag that sets it, and what to do instead. */
const unbuilt: Readonly<Record<string, readonly [flag: string, remedy: string]>> = {
  BlkioWeight: ['--blkio-weight', 'leave it out'],
  BlkioWeightDevice: ['--blkio-weight-device', 'leave it out'],
  BlkioDeviceReadBps: ['--device-read-bps', 'leave it out'],
  BlkioDeviceReadIOps: ['--device-read-iops', 'leave it out'],
  BlkioDeviceWriteBps: ['--device-write-bps', 'leave it out'],
  BlkioDeviceWriteIOps: ['--device-write-iops', 'leave it out'],
  CgroupParent: ['--cgroup-parent', "set the daemon's --cgroup-parent"],
  CpuCount: ['--cpu-count', 'use --cpus'],
  CpuPercent: ['--cpu-percent', 'use --cpus'],
  CpuRealtimePeriod: ['--cpu-rt-period', 'leave it out'],
  CpuRealtimeRuntime: ['--cpu-rt-runtime', 'leave it out'],
  IOMaximumBandwidth: ['--io-maxbandwidth', 'leave it out'],
  IOMaximumIOps: ['--io-maxiops', 'leave it out'],
  KernelMemory: ['--kernel-memory', 'use --memory'],
  MemorySwappiness: ['--memory-swappiness', 'leave it out'],
  OomKillDisable: ['--oom-kill-disable', 'use --oom-score-adj'],
  VolumeDriver: ['--volume-driver', 'volumes are directories of their host'],
};

/** @throws SkeinError Unimplemented naming the flag. */
export function refuseUnbuiltOptions(body: JsonObject): void {
  const host = member(body, 'HostConfig');
  if (isObject(host)) {
    for (const [name, [flag, remedy]] of Object.entries(unbuilt))
      if (isSet(member(host, name))) throw notBuilt(`Skein does not have ${flag}: ${remedy}.`);
    const isolation = member(host, 'Isolation');
    if (isSet(isolation) && isolation !== 'default')
      throw notBuilt('Skein does not have --isolation: it is for Windows containers.');
  }
  const networking = member(body, 'NetworkingConfig');
  const endpoints = isObject(networking) ? member(networking, 'EndpointsConfig') : undefined;
  for (const endpoint of isObject(endpoints) ? Object.values(endpoints) : []) {
    const ipam = isObject(endpoint) ? member(endpoint, 'IPAMConfig') : undefined;
    if (isObject(ipam) && isSet(member(ipam, 'LinkLocalIPs')))
      throw notBuilt('Skein does not have --link-local-ip: use --ip.');
  }
}

/** Clients send what was not given as null, zero, nothing, or -1 where zero has a meaning. */
function isSet(value: unknown): boolean {
  if (value === undefined || value === null || value === false || value === 0 || value === -1 || value === '')
    return false;
  if (typeof value === 'object') return Object.keys(value).length > 0;
  return true;
}
