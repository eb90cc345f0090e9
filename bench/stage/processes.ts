/** An engine's processes: their memory and their CPU time. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const endTimeoutMs = 15_000;
/** Command names of the engines' own processes; shims begin with `containerd-shim`. */
const engineNames = /^(node|MainThread|skeind|dockerd|containerd)$/;

/** Memory of the engine on one host, in MB. */
export interface EngineMemory {
  /** Daemon and containerd, as `ps` counts it. */
  readonly resident: number;
  /** Daemon, containerd, shims and other helpers; pages that several share are counted once. */
  readonly proportional: number;
}

/** @param namespace path of the host's network namespace: its engine and shims are in it, its containers are not. */
export function engineMemory(namespace: string): EngineMemory {
  const holder = Number(/\/proc\/(\d+)\//.exec(namespace)?.[1]);
  const wanted = readlinkSync(namespace);
  let resident = 0;
  let proportional = 0;
  for (const pid of readdirSync('/proc').map(Number)) {
    if (!(pid > 0) || pid === holder || linkOf(pid) !== wanted) continue;
    const rollup = read(`/proc/${pid}/smaps_rollup`);
    const megabytes = (name: string): number =>
      Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(rollup)?.[1] ?? 0) / 1024;
    if (engineNames.test(read(`/proc/${pid}/comm`).trim())) resident += megabytes('Rss');
    proportional += megabytes('Pss');
  }
  return { resident, proportional };
}

/** CPU time that a process has used, in seconds. */
export function cpuSeconds(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`);
  const nanoseconds = threads.map((thread) => Number(read(`/proc/${pid}/task/${thread}/schedstat`).split(' ')[0]));
  return nanoseconds.reduce((sum, value) => sum + value, 0) / 1e9;
}

/** Waits until a killed process is gone, or waits for its parent only: as long as one thread lives, its sockets do. */
export async function killed(pid: number): Promise<void> {
  const deadline = Date.now() + endTimeoutMs;
  while (!hasEnded(pid)) {
    if (Date.now() > deadline) throw new Error(`process ${pid} does not end`);
    await sleep(5);
  }
}

function hasEnded(pid: number): boolean {
  try {
    return /\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, 'utf8')) && readdirSync(`/proc/${pid}/task`).length <= 1;
  } catch {
    return true;
  }
}

function linkOf(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return ''; // The process ended meanwhile.
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // The process ended meanwhile.
  }
}
