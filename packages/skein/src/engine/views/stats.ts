/** GET /containers/{id}/stats in Docker's JSON. */
import type { ContainerInspect, ContainerStats } from '../../container/types.ts';
import { zeroTime } from '../convert/values.ts';
import type { JsonObject } from '../json.ts';

/** @param stats undefined: the container does not run, all is zero. @param before the sample before, for shares of the CPU. */
export function statsJson(
  container: ContainerInspect,
  stats: ContainerStats | undefined,
  before?: ContainerStats,
): JsonObject {
  return {
    name: container.Name,
    id: container.Id,
    read: stats?.read ?? zeroTime,
    preread: before?.read ?? zeroTime,
    pids_stats: stats ? { current: stats.pids } : {},
    blkio_stats: blockIo(stats),
    num_procs: 0,
    storage_stats: {},
    cpu_stats: cpu(stats),
    precpu_stats: cpu(before),
    memory_stats: stats
      ? {
          usage: stats.memory.usage,
          max_usage: stats.memory.maximum,
          stats: stats.memory.stats,
          limit: stats.memory.limit,
        }
      : {},
    ...(stats && { networks: stats.networks }),
  };
}

function cpu(stats: ContainerStats | undefined): JsonObject {
  const usage = stats?.cpu;
  return {
    cpu_usage: {
      total_usage: usage?.total ?? 0,
      usage_in_kernelmode: usage?.kernel ?? 0,
      usage_in_usermode: usage?.user ?? 0,
    },
    ...(usage && { system_cpu_usage: usage.system, online_cpus: usage.online }),
    throttling_data: {
      periods: usage?.periods ?? 0,
      throttled_periods: usage?.throttledPeriods ?? 0,
      throttled_time: usage?.throttledTime ?? 0,
    },
  };
}

function blockIo(stats: ContainerStats | undefined): JsonObject {
  return {
    io_service_bytes_recursive: stats && stats.blockIo.length > 0 ? stats.blockIo : null,
    io_serviced_recursive: null,
    io_queue_recursive: null,
    io_service_time_recursive: null,
    io_wait_time_recursive: null,
    io_merged_recursive: null,
    io_time_recursive: null,
    sectors_recursive: null,
  };
}
