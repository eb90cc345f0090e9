/**
 * lab: a cluster on one machine. Each host is a process in network, mount and UTS namespaces of its own, on an
 * underlay network (a bridge in one more such host) that has no way to the machine's own interfaces. Everything that
 * a lab starts carries the lab's name in its environment and cgroup, so that `down` finds and ends it whatever
 * happened to the lab's own records. Knows the daemon only as a command.
 */
export { registerLab } from './commands.ts';
export { Lab, type LabHost, type LabOptions } from './lab.ts';
export type { UnderlayKind } from './underlay.ts';
