/** Starts plain containers into their networks: of their own, the host's, another container's or none. */
import { SkeinError } from '../common/index.ts';
import type { ContainerInspect, ContainerRuntime, HostConfig } from '../container/types.ts';
import type { OverlayDriver } from '../overlay/types.ts';
import { hostHosts, hostResolvConf } from './host-files.ts';
import type { ContainerNetworking, StartNetwork } from './networking.ts';
import type { PlainRecord } from './record.ts';
import type { Register } from './register.ts';

interface StarterParts {
  readonly runtime: ContainerRuntime;
  readonly overlay: OverlayDriver;
  readonly networking: ContainerNetworking;
  readonly register: Register;
  readonly forget: (record: PlainRecord) => void;
}

export class Starter {
  readonly #parts: StarterParts;

  constructor(parts: StarterParts) {
    this.#parts = parts;
  }

  /** @throws SkeinError NotModified when it runs; what had been made for the start is taken back. */
  async start(record: PlainRecord): Promise<void> {
    const { runtime, networking } = this.#parts;
    const id = record.containerId;
    const container = await runtime.inspect(id);
    if (container.State.Paused) {
      throw new SkeinError('Conflict', 'cannot start a paused container, try unpause instead');
    }
    if (container.State.Running) throw new SkeinError('NotModified', `Container ${id} is already running`);
    try {
      await runtime.setNetwork(id, await this.#startNetwork(record, container));
      await runtime.start(id);
    } catch (error) {
      await networking.down(record);
      // As dockerd's: whoever waits for the removal of such a container would wait for ever.
      if (hostConfigOf(container).AutoRemove) {
        await runtime.remove(id, { force: true, volumes: true });
        this.#parts.forget(record);
      }
      throw error;
    }
    if (record.mode.kind === 'own') networking.publish(record);
  }

  /** After a change of networks or name of a running container. */
  async networkUp(record: PlainRecord): Promise<void> {
    const { runtime, networking } = this.#parts;
    const container = await runtime.inspect(record.containerId);
    const network = await networking.up(record, hostConfigOf(container), exposedPorts(container));
    await runtime.setNetwork(record.containerId, network);
    networking.publish(record);
  }

  async #startNetwork(record: PlainRecord, container: ContainerInspect): Promise<StartNetwork> {
    const { overlay, runtime, networking } = this.#parts;
    const { mode } = record;
    if (mode.kind === 'own') return networking.up(record, hostConfigOf(container), exposedPorts(container));
    if (mode.kind === 'none') {
      record.up = true;
      this.#parts.register.save(record);
      const { containerId, name: containerName } = record;
      const { networkNamespace } = await overlay.createSandbox({
        containerId,
        containerName,
        endpoints: [],
        gateway: false,
      });
      return { networkNamespace, hosts: hostHosts('', record.hostname), resolvConf: hostResolvConf() };
    }
    if (mode.kind === 'host') {
      return { networkNamespace: '', hosts: hostHosts('host', record.hostname), resolvConf: hostResolvConf() };
    }
    const other = await runtime.inspect(mode.of);
    if (!other.State.Running) {
      throw new SkeinError('Conflict', `cannot join network of a non running container: ${mode.of}`);
    }
    return {
      networkNamespace: other.networkNamespace,
      hosts: hostHosts(other.HostsPath, record.hostname),
      resolvConf: hostResolvConf(other.ResolvConfPath),
    };
  }
}

export function hostConfigOf(container: ContainerInspect): HostConfig {
  return container.HostConfig as unknown as HostConfig;
}

function exposedPorts(container: ContainerInspect): string[] {
  return Object.keys((container.Config.ExposedPorts as object | undefined) ?? {});
}
