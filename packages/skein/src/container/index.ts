/**
 * container: containers and images of this host under containerd — images, OCI specification, processes, logs, exec,
 * health. It knows no networks: a container is created into a network namespace that exists already.
 *
 * It owns containerd's namespace `skein`, the cgroups below its parent, and the directories it is given; it may not touch
 * links, addresses or nftables. Nothing here ends with the daemon: containerd and the shims run in sessions of their
 * own, the exit code waits in the shim, output waits in the pipe (64 KiB, then the process waits too). Only output that
 * a process writes and does not outlive while no daemon runs is lost, as with dockerd's live-restore.
 */
/*
 * What containerd keeps, and why it is not collected: a container's record keeps its snapshot, the snapshot its layers;
 * an image's record keeps its manifest, that its config, that the unpacked layers. What is between two of these is
 * kept by a lease, which ends by itself if the daemon does.
 */
export type { ManagedContainerd } from './containerd/supervisor.ts';
export { stopManagedContainerd } from './containerd/supervisor.ts';
export { unifiedCgroup } from './host.ts';
export { mayFilterPackets } from './oci/capabilities.ts';
export { type ContainerRuntimeOptions, openContainerRuntime } from './open.ts';
export { familiarName, familiarReference, parseReference, type Reference, withDefaultTag } from './references.ts';
export { signalNumber } from './signals.ts';
export type * from './types.ts';
