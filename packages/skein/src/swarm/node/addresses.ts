/** Which addresses a node listens on and tells others (rules and texts: moby daemon/cluster/listen_addr.go). */
import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { BlockList, isIP, isIPv6, SocketAddress } from 'node:net';
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { errorText, SkeinError } from '../../common/index.ts';

/** Port of the swarm's gRPC when none is given. */
export const defaultSwarmPort = 2377;
/** Local bridges whose addresses no other host can reach. */
const localBridges = /^(docker_gwbridge|docker0|br-[0-9a-f]{12})$/;

export type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** @returns `host:port`, an IPv6 host in brackets. */
export function formatHostPort({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * Splits `host`, `host:port`, `[v6]:port` or a bare IPv6 address.
 * @throws SkeinError InvalidArgument for a port that is none.
 */
export function parseHostPort(text: string, defaultPort: number): HostPort {
  if (isIPv6(text)) return { host: canonical(text), port: defaultPort };
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::(.*))?$/.exec(text);
  if (!match) throw new SkeinError('InvalidArgument', `address ${text}: too many colons in address`);
  const portText = match[3];
  const port = portText === undefined || portText === '' ? defaultPort : Number(portText);
  if (!Number.isInteger(port) || port < 1 || port > 65535) {
    throw new SkeinError('InvalidArgument', `invalid port ${portText} in address ${text}: use 1 to 65535`);
  }
  return { host: canonical(match[1] ?? match[2] ?? ''), port };
}

/** An IPv6 address in its shortest form (RFC 5952), a mapped one as IPv4: known again wherever it comes from. */
function canonical(host: string): string {
  if (isAddress(host) !== 6) return host;
  return new SocketAddress({ address: host, family: 'ipv6' }).address.replace(/^::ffff:(?=\d+\.)/, '');
}

/** 4, 6, or 0 for what is no address. One with a zone (`fe80::1%eth0`) means nothing on another host. */
function isAddress(host: string): number {
  return host.includes('%') ? 0 : isIP(host);
}

/**
 * @returns a manager's address as the user gave it to join, as `host:port`; an IPv6 host in brackets.
 * @throws SkeinError InvalidArgument, in Docker's words, for what is no address.
 */
export function managerAddress(given: string): string {
  if (given === '') throw new SkeinError('InvalidArgument', 'invalid remoteAddr "": invalid empty address');
  const text = given.replace(/^tcp:\/\//, '');
  // Without brackets, an address with the swarm's port behind it reads as one without a port.
  if (isIPv6(text) && isAddress(text) && !text.endsWith(`:${defaultSwarmPort}`))
    return formatHostPort({ host: canonical(text), port: defaultSwarmPort });
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::([^:]*))?$/.exec(text);
  if (!match) {
    const isOpen = text.startsWith('[') && !text.includes(']');
    throw noWayTo(`dial udp: address ${text}: ${isOpen ? "missing ']' in address" : 'too many colons in address'}`);
  }
  const host = canonical(match[1] ?? match[2] ?? '') || '0.0.0.0';
  const port = match[3] || `${defaultSwarmPort}`;
  if (!/^\d+$/.test(port)) throw noWayTo(`dial udp: address udp/${port}: unknown port`);
  const address = formatHostPort({ host, port: Number(port) });
  if (Number(port) < 1 || Number(port) > 65535) throw noWayTo(`dial udp: address ${port}: invalid port`);
  if (!URL.canParse(`https://${address}`)) throw noWayTo(`dial udp: lookup ${host}: no such host`);
  return address;
}

/** As Docker says it of a manager's address. */
const noWayTo = (why: string, cause?: unknown): SkeinError =>
  new SkeinError('InvalidArgument', `could not find local IP address: ${why}`, { cause });

/**
 * @returns this machine's address on the way to `address` (`host:port`): what Docker advertises of a node that joins.
 * Nothing is sent.
 * @throws SkeinError InvalidArgument, in Docker's words, when there is no way.
 */
export async function addressTowards(address: string): Promise<string> {
  const { host, port } = parseHostPort(address, defaultSwarmPort);
  const target = await addressOf(host);
  const socket = createSocket(isIPv6(target) ? 'udp6' : 'udp4');
  try {
    const connected = once(socket, 'connect');
    socket.connect(port, target);
    await connected;
    return canonical(socket.address().address);
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    throw noWayTo(`dial udp ${address}: connect: ${connectFaults[code] ?? errorText(error)}`, error);
  } finally {
    socket.close();
  }
}

/** Go's words. */
const connectFaults: Readonly<Record<string, string>> = {
  ENETUNREACH: 'network is unreachable',
  EHOSTUNREACH: 'no route to host',
};

async function addressOf(host: string): Promise<string> {
  if (isAddress(host)) return host;
  try {
    return (await lookup(host)).address;
  } catch (error) {
    throw noWayTo(`dial udp: lookup ${host}: no such host`, error);
  }
}

/** The addresses of a node, resolved. */
export interface NodeAddresses {
  readonly listen: HostPort;
  readonly advertise: HostPort;
  /** Plain address of the VTEP. */
  readonly dataPath: string;
}

/** @returns where this machine itself reaches what listens there, `host:port`. */
export function localAddress({ host, port }: HostPort): string {
  return formatHostPort({ host: loopbacks[host] ?? host, port });
}

/** By the unspecified address of the family. */
const loopbacks: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' };

/** @returns whether a node that is to listen there can be reached at any of its addresses. */
export function listensEverywhere(listenAddress: string): boolean {
  return listenAddress === '' || isUnspecified(parseHostPort(listenAddress, defaultSwarmPort).host || '0.0.0.0');
}

/**
 * @param request as given to init or join; interface names are resolved; '' means "find out".
 * @throws SkeinError InvalidArgument, in Docker's words, when an address is none of this machine or the choice is not unique.
 */
export function resolveAddresses(
  request: { listenAddress: string; advertiseAddress: string; dataPathAddress: string },
  interfaces: Interfaces = networkInterfaces(),
): NodeAddresses {
  const listen = resolveListen(request.listenAddress || `0.0.0.0:${defaultSwarmPort}`, interfaces);
  const advertise = resolveAdvertise(request.advertiseAddress, listen, interfaces);
  const dataPath =
    request.dataPathAddress === ''
      ? advertise.host
      : resolveNamed(
          request.dataPathAddress,
          'data path address must be a non-zero IP address or network interface',
          interfaces,
        );
  if (linkLocal.check(dataPath, isIPv6(dataPath) ? 'ipv6' : 'ipv4'))
    throw new SkeinError(
      'InvalidArgument',
      `the data path address ${dataPath} is of one link only: use a global or a unique local address, with --data-path-addr or --advertise-addr`,
    );
  return { listen, advertise, dataPath };
}

/** RFC 4291 section 2.5.6. The kernel makes no tunnel at such an address of IPv6 (Docker takes it, and its tasks fail). */
const linkLocal = new BlockList();
linkLocal.addSubnet('fe80::', 10, 'ipv6');

function resolveListen(text: string, interfaces: Interfaces): HostPort {
  const { host, port } = parseHostPort(text, defaultSwarmPort);
  if (host === '') return { host: '0.0.0.0', port };
  if (isAddress(host)) return { host, port };
  if (!interfaces[host])
    throw new SkeinError(
      'InvalidArgument',
      'listen address must be an IP address or network interface (with optional port number)',
    );
  return { host: interfaceAddress(host, interfaces), port };
}

function resolveAdvertise(text: string, listen: HostPort, interfaces: Interfaces): HostPort {
  if (text === '') {
    const host = isUnspecified(listen.host) ? systemAddress(interfaces) : listen.host;
    return { host, port: listen.port };
  }
  const { host, port } = parseHostPort(text, listen.port);
  return {
    host: resolveNamed(
      host,
      'advertise address must be a non-zero IP address or network interface (with optional port number)',
      interfaces,
    ),
    port,
  };
}

function resolveNamed(host: string, complaint: string, interfaces: Interfaces): string {
  if (interfaces[host]) return interfaceAddress(host, interfaces);
  if (!isAddress(host) || isUnspecified(host)) throw new SkeinError('InvalidArgument', complaint);
  return canonical(host);
}

function isUnspecified(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}

function usable(name: string, interfaces: Interfaces, family: 'IPv4' | 'IPv6'): string[] {
  return (interfaces[name] ?? [])
    .filter((info) => info.family === family && !info.internal && info.scopeid === (family === 'IPv6' ? 0 : undefined))
    .map((info) => info.address);
}

function interfaceAddress(name: string, interfaces: Interfaces): string {
  for (const family of ['IPv4', 'IPv6'] as const) {
    const addresses = usable(name, interfaces, family);
    if (addresses.length > 1)
      throw new SkeinError(
        'InvalidArgument',
        `interface ${name} has more than one ${family} address (${addresses[0]} and ${addresses[1]})`,
      );
    if (addresses[0]) return addresses[0];
  }
  throw new SkeinError('InvalidArgument', `interface ${name} has no usable IPv4 or IPv6 address`);
}

function systemAddress(interfaces: Interfaces): string {
  const found: { name: string; address: string }[] = [];
  for (const family of ['IPv4', 'IPv6'] as const) {
    for (const name of Object.keys(interfaces)) {
      if (localBridges.test(name)) continue;
      for (const address of usable(name, interfaces, family)) found.push({ name, address });
    }
    if (found.length > 0) break;
  }
  const [first, second] = found;
  if (!first)
    throw new SkeinError(
      'InvalidArgument',
      "could not find the system's IP address - specify one with --advertise-addr",
    );
  if (!second) return first.address;
  const where =
    first.name === second.name
      ? `on interface ${first.name} (${first.address} and ${second.address})`
      : `on different interfaces (${first.address} on ${first.name} and ${second.address} on ${second.name})`;
  throw new SkeinError(
    'InvalidArgument',
    `could not choose an IP address to advertise since this system has multiple addresses ${where} - specify one with --advertise-addr`,
  );
}
