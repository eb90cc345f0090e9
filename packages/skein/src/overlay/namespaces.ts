/** The namespace files of this host's sandboxes. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode, NetworkNamespace, writeSysctl } from '@skein/netlink';
import { isNamespaceName } from './names.ts';

/** Of interfaces to come; lo keeps ::1, which /etc/hosts names. */
const ipv6Switch = 'net.ipv6.conf.default.disable_ipv6';

export class NamespaceDirectory {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  path(name: string): string {
    return join(this.#directory, name);
  }

  /** @returns whether a namespace of this name is there. */
  has(name: string): boolean {
    return NetworkNamespace.exists(this.path(name));
  }

  /** Opens the namespace, which must be there. The caller disposes of it. */
  open(name: string): NetworkNamespace {
    return NetworkNamespace.open(this.path(name));
  }

  /**
   * Opens the namespace, or makes it: `lo` up, no IPv6 on its other interfaces until they get such an address:
   * link-local traffic of every veth would only be noise. The caller disposes of it.
   */
  ensure(name: string): NetworkNamespace {
    if (this.has(name)) return this.open(name);
    const namespace = NetworkNamespace.create(this.path(name), { loopback: true });
    try {
      writeSysctl(namespace, ipv6Switch, 1);
    } catch (error) {
      // A kernel without IPv6 has no such switch.
      if (!hasCode(error, 'ENOENT')) throw error;
    }
    return namespace;
  }

  /** Removes the namespace, and with it every link inside. No error when there is none. */
  delete(name: string): void {
    NetworkNamespace.delete(this.path(name));
  }

  /** Names of all files here that have the form of ours. */
  list(): string[] {
    if (!existsSync(this.#directory)) return [];
    return readdirSync(this.#directory).filter(isNamespaceName);
  }
}
