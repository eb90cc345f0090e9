/** /proc/sys/net of a namespace: the kernel shows each thread the tree of the namespace it is in. */
import { readFileSync, writeFileSync } from 'node:fs';
import type { NetworkNamespace } from './namespace.ts';

/**
 * Reads a network setting, without the newline. Equivalent to `sysctl -n`.
 * @param name 'net.ipv4.ip_forward', or with slashes where a link's name holds a dot: 'net/ipv4/conf/eth0.7/rp_filter'.
 * @throws Error with code ENOENT when this kernel has no such setting.
 */
export function readSysctl(namespace: NetworkNamespace, name: string): string {
  return namespace.run(() => readFileSync(sysctlPath(name), 'utf8')).trimEnd();
}

/** Writes a network setting. Equivalent to `sysctl -w`. The kernel's refusal (EINVAL) is thrown as it is. */
export function writeSysctl(namespace: NetworkNamespace, name: string, value: string | number): void {
  namespace.run(() => writeFileSync(sysctlPath(name), `${value}\n`));
}

/** Only the network's settings belong to a namespace: a write to others would change the whole machine. */
function sysctlPath(name: string): string {
  const parts = name.includes('/') ? name.split('/') : name.split('.');
  if (parts[0] !== 'net' || parts.length < 2 || parts.some((part) => part === '' || part === '.' || part === '..')) {
    throw new TypeError(`not a network setting: '${name}'`);
  }
  return `/proc/sys/${parts.join('/')}`;
}
