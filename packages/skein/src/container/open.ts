/** How the runtime comes up: containerd, the places on disk, and the containers that outlived the daemon. */
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type EventBus, errorText, type Logger, SkeinError } from '../common/index.ts';
import { connectContainerd, containerdNamespace, isAlreadyExists } from './containerd/client.ts';
import { ShimGroups } from './containerd/shim-groups.ts';
import { removeDeadSocket } from './containerd/shim-socket.ts';
import { ContainerdSupervisor, type ManagedContainerd } from './containerd/supervisor.ts';
import type { Context } from './context.ts';
import { cgroupVersion, defaultCgroupParent, hasSwapLimit } from './host.ts';
import { Runtime } from './runtime.ts';
import { ContainerStore } from './state.ts';
import type { ContainerRuntime } from './types.ts';

export interface ContainerRuntimeOptions {
  /** On disk: container records and logs, `<id>/config.json` and `<id>/<id>-json.log`. */
  readonly stateDirectory: string;
  /** On disk: `<name>/_data`; `volumes` beside the state directory by default. */
  readonly volumeDirectory?: string;
  /** Gone with a reboot: pipes, secrets. Secrets get a tmpfs of their own where this is on a disk. */
  readonly runDirectory: string;
  /** A containerd that runs already, by its socket, or one of our own. */
  readonly containerd: { readonly address: string } | { readonly managed: ManagedContainerd };
  readonly events: EventBus;
  readonly logger: Logger;
  /** Parent of the containers' cgroups; `/skein` by default. */
  readonly cgroupParent?: string;
}

/** Connects to containerd (starting it, if it is to be ours) and takes up the containers that are there. */
export async function openContainerRuntime(options: ContainerRuntimeOptions): Promise<ContainerRuntime> {
  await mkdir(options.runDirectory, { recursive: true, mode: 0o711 });
  const managed = 'managed' in options.containerd ? options.containerd.managed : undefined;
  const supervisor = managed && (await ContainerdSupervisor.start(managed, options.logger));
  const address = 'address' in options.containerd ? options.containerd.address : options.containerd.managed.socket;
  const containerd = connectContainerd(address);
  try {
    await containerd.namespaces.create({ namespace: { name: containerdNamespace } }).catch((error: unknown) => {
      if (!isAlreadyExists(error)) throw error;
    });
    const version = await cgroupVersion();
    const closing = new AbortController();
    const context: Context = {
      containerd,
      shims: new ShimGroups(({ group }) => removeDeadSocket(address, group)),
      store: new ContainerStore(options.stateDirectory),
      events: options.events,
      logger: options.logger,
      runDirectory: options.runDirectory,
      volumeDirectory: options.volumeDirectory ?? join(dirname(options.stateDirectory), 'volumes'),
      cgroupParent: options.cgroupParent ?? defaultCgroupParent,
      cgroupVersion: version,
      swapLimit: await hasSwapLimit(version),
      closed: closing.signal,
    };
    const runtime = new Runtime(
      context,
      async () => {
        closing.abort();
        supervisor?.[Symbol.dispose]();
      },
      managed,
    );
    await runtime.adopt(address);
    return runtime;
  } catch (error) {
    containerd[Symbol.dispose]();
    supervisor?.[Symbol.dispose]();
    if (error instanceof SkeinError) throw error;
    throw new SkeinError('Unavailable', `containerd at ${address}: ${errorText(error)}`, { cause: error });
  }
}
