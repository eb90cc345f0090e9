import { join } from 'node:path';

/** Where labs keep their run-time files: sockets, logs, records. A tmpfs, gone after a reboot as the processes are. */
const runRoot = '/run/skein-lab';
/** Where the hosts' daemons keep images and containers: overlayfs needs a real file system. */
const dataRoot = '/var/lib/skein-lab';

/** The files of one lab. */
export interface LabPaths {
  readonly run: string;
  readonly data: string;
  /** Parent cgroup of the lab's containers, below each controller's root. */
  readonly cgroup: string;
}

/** @param name the lab's name, which must be a plain word. */
export function labPaths(name: string): LabPaths {
  return { run: join(runRoot, name), data: join(dataRoot, name), cgroup: `/skein-lab/${name}` };
}

/** The files of one host of a lab. */
export function hostPaths(lab: LabPaths, host: string) {
  const run = join(lab.run, host);
  return {
    /** The host's /run. */
    run: join(run, 'run'),
    etc: join(run, 'etc'),
    log: join(run, 'skeind.log'),
    holderPid: join(run, 'holder.pid'),
    daemonPid: join(run, 'skeind.pid'),
    data: join(lab.data, host),
    /** Seen from the machine; inside the host it is /run/skein.sock. */
    socket: join(run, 'run', 'skein.sock'),
  };
}
