/** The text of /etc/resolv.conf and /etc/hosts in a container, as Docker writes them. */
import { isIP } from 'node:net';
import type { ResolvConfOptions } from './types.ts';

/** Where the embedded DNS server answers in every container (libnetwork resolver_unix.go). */
export const resolverAddress = '127.0.0.11';
/** Names with no dot are asked as they are first: service names are not searched in the host's domains. */
const defaultNdots = 'ndots:0';

/** What a resolv.conf says (resolv.conf(5)). */
export interface ResolvConf {
  readonly nameservers: readonly string[];
  readonly search: readonly string[];
  readonly options: readonly string[];
}

/**
 * @returns the container's /etc/resolv.conf: the embedded server, then the search domains and options of the host or
 * the user; `ndots:0` is added unless an ndots is among them.
 */
export function resolvConf({ search, options }: ResolvConfOptions): string {
  const withNdots = options.some((option) => option.startsWith('ndots:')) ? options : [...options, defaultNdots];
  return formatResolvConf({ nameservers: [resolverAddress], search, options: withNdots });
}

/** @returns the text of a resolv.conf. */
export function formatResolvConf({ nameservers, search, options }: ResolvConf): string {
  const lines = [
    ...(search.length > 0 ? [`search ${search.join(' ')}`] : []),
    ...nameservers.map((address) => `nameserver ${address}`),
    ...(options.length > 0 ? [`options ${options.join(' ')}`] : []),
  ];
  return lines.map((line) => `${line}\n`).join('');
}

/**
 * Reads a resolv.conf. Unknown lines are passed over, `nameserver` lines that hold no address too; the last `search`
 * or `domain` line counts and `options` lines add up, as resolv.conf(5) has it.
 */
export function parseResolvConf(text: string): ResolvConf {
  const nameservers: string[] = [];
  let search: string[] = [];
  const options: string[] = [];
  for (const line of text.split('\n')) {
    const [keyword, ...values] = line
      .replace(/[#;].*/, '')
      .trim()
      .split(/\s+/);
    const first = values[0];
    if (first === undefined) continue;
    if (keyword === 'nameserver' && isIP(first.replace(/%.*/, '')) !== 0) nameservers.push(first);
    if (keyword === 'search') search = values;
    if (keyword === 'domain') search = [first];
    if (keyword === 'options') options.push(...values);
  }
  return { nameservers, search, options };
}

/** What a container's /etc/hosts holds besides the local names. */
export interface HostsFile {
  /** The container's own name; with a domain, the name before the first dot is added beside it. */
  readonly hostname: string;
  /** More names of the container itself. */
  readonly names: readonly string[];
  /** Plain addresses of the container, eth0 first; each gets a line. */
  readonly addresses: readonly string[];
  /** The user's lines (`--host`, `--add-host`), before the container's own as Docker has them. */
  readonly extra: readonly { readonly address: string; readonly names: readonly string[] }[];
}

/** The lines that every container has (libnetwork etchosts.go). */
const localHosts = [
  { address: '127.0.0.1', names: ['localhost'] },
  { address: '::1', names: ['localhost', 'ip6-localhost', 'ip6-loopback'] },
  { address: 'fe00::0', names: ['ip6-localnet'] },
  { address: 'ff00::0', names: ['ip6-mcastprefix'] },
  { address: 'ff02::1', names: ['ip6-allnodes'] },
  { address: 'ff02::2', names: ['ip6-allrouters'] },
];

/** @returns the container's /etc/hosts. */
export function hostsFile({ hostname, names, addresses, extra }: HostsFile): string {
  const dot = hostname.indexOf('.');
  const own = [hostname, ...(dot > 0 ? [hostname.slice(0, dot)] : []), ...names];
  return hostsLines([...localHosts, ...extra, ...addresses.map((address) => ({ address, names: own }))]);
}

/** @returns lines of a hosts file. */
export function hostsLines(lines: HostsFile['extra']): string {
  return lines.map(({ address, names }) => `${address}\t${names.join(' ')}\n`).join('');
}
