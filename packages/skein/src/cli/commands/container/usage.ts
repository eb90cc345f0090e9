/** What a container uses, of one sample of the engine's counters (docker/cli container/stats_helpers.go). Pure. */
import { asList, asNumber, asObject, asText, at, type Json } from '../../client/json.ts';

export interface Usage {
  readonly id: string;
  readonly name: string;
  readonly cpuPercent: number;
  readonly memory: number;
  readonly memoryLimit: number;
  readonly received: number;
  readonly sent: number;
  readonly blockRead: number;
  readonly blockWritten: number;
  readonly processes: number;
}

export function usageOf(sample: Json): Usage {
  const networks = Object.values(asObject(at(sample, 'networks')));
  const sum = (field: string): number => networks.reduce<number>((total, each) => total + asNumber(at(each, field)), 0);
  return {
    id: asText(at(sample, 'id')),
    name: asText(at(sample, 'name')).replace(/^\//, ''),
    cpuPercent: cpuPercent(sample),
    memory: memoryOf(at(sample, 'memory_stats')),
    memoryLimit: asNumber(at(sample, 'memory_stats', 'limit')),
    received: sum('rx_bytes'),
    sent: sum('tx_bytes'),
    blockRead: blockBytes(sample, 'r'),
    blockWritten: blockBytes(sample, 'w'),
    processes: asNumber(at(sample, 'pids_stats', 'current')),
  };
}

/** Of one processor, since the sample before. */
function cpuPercent(sample: Json): number {
  const since = (...path: string[]): number =>
    asNumber(at(sample, 'cpu_stats', ...path)) - asNumber(at(sample, 'precpu_stats', ...path));
  const [own, whole] = [since('cpu_usage', 'total_usage'), since('system_cpu_usage')];
  const processors =
    asNumber(at(sample, 'cpu_stats', 'online_cpus')) ||
    asList(at(sample, 'cpu_stats', 'cpu_usage', 'percpu_usage')).length;
  return own > 0 && whole > 0 ? (own / whole) * processors * 100 : 0;
}

/** Without the cache that the kernel can take back at once: its name differs between cgroup v1 and v2. */
function memoryOf(memory: Json | undefined): number {
  const usage = asNumber(at(memory, 'usage'));
  const cached = at(memory, 'stats', 'total_inactive_file') ?? at(memory, 'stats', 'inactive_file');
  const inactive = asNumber(cached);
  return inactive < usage ? usage - inactive : usage;
}

function blockBytes(sample: Json, operation: 'r' | 'w'): number {
  return asList(at(sample, 'blkio_stats', 'io_service_bytes_recursive'))
    .filter((entry) => asText(at(entry, 'op')).toLowerCase().startsWith(operation))
    .reduce<number>((total, entry) => total + asNumber(at(entry, 'value')), 0);
}
