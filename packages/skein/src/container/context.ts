/** What the parts of the room share: the connection, the places on disk, where events and messages go. */
import type { EventBus, Logger } from '../common/index.ts';
import type { Containerd } from './containerd/client.ts';
import type { ShimGroups } from './containerd/shim-groups.ts';
import type { ContainerStore } from './state.ts';

export interface Context {
  readonly containerd: Containerd;
  readonly shims: ShimGroups;
  readonly store: ContainerStore;
  readonly events: EventBus;
  readonly logger: Logger;
  /** Pipes of processes, secrets and configs; gone with a reboot. */
  readonly runDirectory: string;
  /** Volumes, one directory each. */
  readonly volumeDirectory: string;
  /** Parent of the containers' cgroups, as in `/skein`. */
  readonly cgroupParent: string;
  readonly cgroupVersion: '1' | '2';
  /** Whether the kernel can limit swap. */
  readonly swapLimit: boolean;
  /** Aborted when the runtime is closed: ends waits and watches, never containers. */
  readonly closed: AbortSignal;
}
