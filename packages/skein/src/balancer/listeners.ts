/** Whether servers in a namespace take IPv6: whoever leads a client there by IPv6 must know, as many listen on IPv4 only. */
import { closeSync, openSync, readSync } from 'node:fs';
import { hasCode, type NetworkNamespace } from '@skein/netlink';
import { portKey, type ServiceKey } from './service-table.ts';
import type { PortProtocol } from './types.ts';

/** TCP_LISTEN in /proc/net/tcp6; a UDP socket is 07 while unconnected. */
const listening = { tcp: '0A', udp: '07' } as const;
/** `::`, as /proc prints it. */
const anyAddress = '0'.repeat(32);
const chunkBytes = 65_536;

/** @returns those of the ports at which a server in the namespace listens on all addresses of IPv6. */
export function ipv6Listeners(
  namespace: NetworkNamespace,
  ports: readonly { readonly protocol: PortProtocol; readonly targetPort: number }[],
): Set<ServiceKey> {
  const found = new Set<ServiceKey>();
  for (const protocol of ['tcp', 'udp'] as const) {
    const wanted = new Set(ports.filter((port) => port.protocol === protocol).map(({ targetPort }) => targetPort));
    if (wanted.size === 0) continue;
    for (const port of namespace.run(() => listeningPorts(protocol))) {
      if (wanted.has(port)) found.add(portKey(protocol, port));
    }
  }
  return found;
}

function listeningPorts(protocol: 'tcp' | 'udp'): number[] {
  const ports: number[] = [];
  for (const line of linesOf(`/proc/thread-self/net/${protocol}6`)) {
    const [, local = '', , state] = line.trim().split(/\s+/);
    const [address, port = ''] = local.split(':');
    if (state === listening[protocol] && address === anyAddress) ports.push(Number.parseInt(port, 16));
    // Those that listen come first, and the connections behind them may be thousands.
    else if (protocol === 'tcp' && state !== listening.tcp) break;
  }
  return ports;
}

/** The file's lines behind its heading, read as far as they are asked for. */
function* linesOf(path: string): Generator<string> {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    // A kernel without IPv6.
    if (hasCode(error, 'ENOENT')) return;
    throw error;
  }
  try {
    const chunk = Buffer.alloc(chunkBytes);
    let rest = '';
    let isHeading = true;
    for (;;) {
      const length = readSync(file, chunk);
      const lines = `${rest}${chunk.toString('latin1', 0, length)}`.split('\n');
      rest = length === 0 ? '' : (lines.pop() ?? '');
      for (const line of lines) {
        if (!isHeading && line !== '') yield line;
        isHeading = false;
      }
      if (length === 0) return;
    }
  } finally {
    closeSync(file);
  }
}
