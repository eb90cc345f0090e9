/**
 * daemon: puts the rooms together into one process, `skeind`, and ends them in order. Nothing else lives here.
 * Ending the daemon ends no container and changes nothing in the kernel: a new daemon finds all of it again.
 */
export { type DaemonOptions, runDaemon } from './daemon.ts';
