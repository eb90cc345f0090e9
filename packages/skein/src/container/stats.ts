/** `docker stats`: what a container uses, from its cgroups and its namespace's counters. */
import { readFile } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import type { ContainerStats } from './types.ts';

const cgroupRoot = '/sys/fs/cgroup';
const nanosecondsPerSecond = 1e9;
const microsecond = 1000;
/** USER_HZ: /proc/stat counts in hundredths of a second (proc(5)). */
const ticksPerSecond = 100;
/** Columns of /proc/stat that are time: user to steal. */
const timeColumns = 8;

/** A file's text, '' where there is none: hierarchies differ from host to host. */
const text = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '');
const number = async (path: string): Promise<number> => Number((await text(path)).trim()) || 0;
const table = async (path: string): Promise<Record<string, number>> =>
  Object.fromEntries(
    (await text(path))
      .split('\n')
      .map((line) => line.split(/\s+/))
      .flatMap(([name, value]) => (name ? [[name, Number(value) || 0]] : [])),
  );

/** @param cgroup path below the hierarchies, `/skein/<id>`. @param pid of the first process. */
export async function readStats(cgroup: string, version: '1' | '2', pid: number): Promise<ContainerStats> {
  const [cpu, memory, pids] = await Promise.all(
    version === '1'
      ? [cpuOf1(cgroup), memoryOf1(cgroup), number(join(cgroupRoot, 'pids', cgroup, 'pids.current'))]
      : [cpuOf2(cgroup), memoryOf2(cgroup), number(join(cgroupRoot, cgroup, 'pids.current'))],
  );
  return {
    read: new Date().toISOString(),
    cpu: { ...cpu, system: await systemTime(), online: cpus().length },
    memory,
    pids,
    networks: await networkCounters(pid),
    blockIo: version === '1' ? await blockIoOf1(cgroup) : await blockIoOf2(cgroup),
  };
}

async function cpuOf1(cgroup: string) {
  const accounting = join(cgroupRoot, 'cpuacct', cgroup);
  const stat = await table(join(accounting, 'cpuacct.stat'));
  const throttled = await table(join(cgroupRoot, 'cpu', cgroup, 'cpu.stat'));
  const tick = nanosecondsPerSecond / ticksPerSecond;
  return {
    total: await number(join(accounting, 'cpuacct.usage')),
    kernel: (stat.system ?? 0) * tick,
    user: (stat.user ?? 0) * tick,
    periods: throttled.nr_periods ?? 0,
    throttledPeriods: throttled.nr_throttled ?? 0,
    throttledTime: throttled.throttled_time ?? 0,
  };
}

async function cpuOf2(cgroup: string) {
  const stat = await table(join(cgroupRoot, cgroup, 'cpu.stat'));
  return {
    total: (stat.usage_usec ?? 0) * microsecond,
    kernel: (stat.system_usec ?? 0) * microsecond,
    user: (stat.user_usec ?? 0) * microsecond,
    periods: stat.nr_periods ?? 0,
    throttledPeriods: stat.nr_throttled ?? 0,
    throttledTime: (stat.throttled_usec ?? 0) * microsecond,
  };
}

async function memoryOf1(cgroup: string): Promise<ContainerStats['memory']> {
  const directory = join(cgroupRoot, 'memory', cgroup);
  return {
    usage: await number(join(directory, 'memory.usage_in_bytes')),
    maximum: await number(join(directory, 'memory.max_usage_in_bytes')),
    limit: Math.min(await number(join(directory, 'memory.limit_in_bytes')), totalmem()),
    stats: await table(join(directory, 'memory.stat')),
  };
}

async function memoryOf2(cgroup: string): Promise<ContainerStats['memory']> {
  const directory = join(cgroupRoot, cgroup);
  return {
    usage: await number(join(directory, 'memory.current')),
    maximum: await number(join(directory, 'memory.peak')),
    // `max` is no number: no limit.
    limit: (await number(join(directory, 'memory.max'))) || totalmem(),
    stats: await table(join(directory, 'memory.stat')),
  };
}

/** `major:minor Operation bytes` a line. */
async function blockIoOf1(cgroup: string): Promise<ContainerStats['blockIo']> {
  const lines = (await text(join(cgroupRoot, 'blkio', cgroup, 'blkio.throttle.io_service_bytes'))).split('\n');
  return lines.flatMap((line) => {
    const [, major, minor, op, value] = /^(\d+):(\d+) (\w+) (\d+)$/.exec(line) ?? [];
    return op ? [{ major: Number(major), minor: Number(minor), op, value: Number(value) }] : [];
  });
}

/** `major:minor rbytes=… wbytes=…` a line. */
async function blockIoOf2(cgroup: string): Promise<ContainerStats['blockIo']> {
  const lines = (await text(join(cgroupRoot, cgroup, 'io.stat'))).split('\n');
  return lines.flatMap((line) => {
    const [, major, minor] = /^(\d+):(\d+) /.exec(line) ?? [];
    if (major === undefined) return [];
    const value = (name: string): number => Number(new RegExp(`${name}=(\\d+)`).exec(line)?.[1] ?? 0);
    const device = { major: Number(major), minor: Number(minor) };
    return [
      { ...device, op: 'read', value: value('rbytes') },
      { ...device, op: 'write', value: value('wbytes') },
    ];
  });
}

/** @returns the time of all processors, in nanoseconds. */
async function systemTime(): Promise<number> {
  const [line = ''] = (await text('/proc/stat')).split('\n');
  const ticks = line
    .trim()
    .split(/\s+/)
    .slice(1, 1 + timeColumns);
  return (ticks.reduce((sum, each) => sum + Number(each), 0) * nanosecondsPerSecond) / ticksPerSecond;
}

/** Columns of /proc/net/dev after the name (kernel net/core/net-procfs.c). */
const column = {
  rxBytes: 0,
  rxPackets: 1,
  rxErrors: 2,
  rxDropped: 3,
  txBytes: 8,
  txPackets: 9,
  txErrors: 10,
  txDropped: 11,
};

async function networkCounters(pid: number): Promise<ContainerStats['networks']> {
  const networks: ContainerStats['networks'] = {};
  for (const line of (await text(`/proc/${pid}/net/dev`)).split('\n')) {
    const [, name, rest] = /^\s*([^\s:]+):(.*)$/.exec(line) ?? [];
    if (name === undefined || rest === undefined || name === 'lo') continue;
    const values = rest.trim().split(/\s+/).map(Number);
    networks[name] = {
      rx_bytes: values[column.rxBytes] ?? 0,
      rx_packets: values[column.rxPackets] ?? 0,
      rx_errors: values[column.rxErrors] ?? 0,
      rx_dropped: values[column.rxDropped] ?? 0,
      tx_bytes: values[column.txBytes] ?? 0,
      tx_packets: values[column.txPackets] ?? 0,
      tx_errors: values[column.txErrors] ?? 0,
      tx_dropped: values[column.txDropped] ?? 0,
    };
  }
  return networks;
}
