/** Which addresses a node listens on and tells others (rules and texts: moby daemon/cluster/listen_addr.go). */
import { isIP } from 'node:net';
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { SkeinError } from '../../common/index.ts';

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
  if (isIP(text) === 6) return { host: text, port: defaultPort };
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::(.*))?$/.exec(text);
  if (!match) throw new SkeinError('InvalidArgument', `address ${text}: too many colons in address`);
  const portText = match[3];
  const port = portText === undefined || portText === '' ? defaultPort : Number(portText);
  if (!Number.isInteger(port) || port < 1 || port > 65535) {
    throw new SkeinError('InvalidArgument', `invalid port ${portText} in address ${text}: use 1 to 65535`);
  }
  return { host: match[1] ?? match[2] ?? '', port };
}

/** The addresses of a node, resolved. */
export interface NodeAddresses {
  readonly listen: HostPort;
  readonly advertise: HostPort;
  /** Plain address of the VTEP. */
  readonly dataPath: string;
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
  return { listen, advertise, dataPath };
}

function resolveListen(text: string, interfaces: Interfaces): HostPort {
  const { host, port } = parseHostPort(text, defaultSwarmPort);
  if (host === '') return { host: '0.0.0.0', port };
  if (isIP(host)) return { host, port };
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
  if (!isIP(host) || isUnspecified(host)) throw new SkeinError('InvalidArgument', complaint);
  return host;
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
