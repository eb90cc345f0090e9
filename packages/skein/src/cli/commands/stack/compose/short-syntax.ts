/** The one-line forms of ports, volumes and restart policies in compose files. */
import { isIPv6 } from 'node:net';
import { CommandError } from '../../../command/errors.ts';

/** A port of a service. */
export interface Port {
  /** Where it was asked to listen; services listen on all addresses. */
  readonly address?: string | undefined;
  readonly mode?: string | undefined;
  readonly target?: number | undefined;
  readonly published?: number | undefined;
  readonly protocol?: string | undefined;
}

const maxPort = 65535;

function portRange(text: string): [first: number, last: number] | undefined {
  const match = /^(\d+)(?:-(\d+))?$/.exec(text);
  if (!match) return undefined;
  const first = Number(match[1]);
  const last = Number(match[2] ?? first);
  return first <= last && last <= maxPort ? [first, last] : undefined;
}

/**
 * Reads `[[IP:][PUBLISHED]:]TARGET[/PROTOCOL]`, each port alone or a range. @returns undefined for what is no port.
 */
export function parsePort(text: string): Port[] | undefined {
  const match = /^(?:(.*):)?([^:/]+)(?:\/(\w+))?$/.exec(text);
  const protocol = (match?.[3] ?? 'tcp').toLowerCase();
  if (!match?.[2] || !['tcp', 'udp', 'sctp'].includes(protocol)) return undefined;
  const target = portRange(match[2]);
  const before = match[1]?.split(':') ?? [];
  const host = before.pop() ?? '';
  const address = before.join(':').replace(/^\[|\]$/g, '');
  if (address !== '' && !isIPv6(address) && !/^\d+(\.\d+){3}$/.test(address)) return undefined;
  const published = host === '' ? undefined : portRange(host);
  if (!target || (host !== '' && !published)) return undefined;
  const ports = portPairs(target, published);
  const isAny = ['', '0.0.0.0', '::'].includes(address);
  return ports?.map(([to, from]) => ({
    ...(!isAny && { address }),
    mode: 'ingress',
    protocol,
    target: to,
    ...(from !== undefined && { published: from }),
  }));
}

type Range = readonly [first: number, last: number];

/** One target takes every published port; otherwise the ranges go side by side, in the order of their text as in Docker. */
function portPairs(target: Range, published: Range | undefined): [number, number | undefined][] | undefined {
  const numbers = ([first, last]: Range) => Array.from({ length: last - first + 1 }, (_none, index) => first + index);
  const targets = numbers(target);
  if (!published) return targets.map((to): [number, undefined] => [to, undefined]).sort(byText);
  const from = numbers(published);
  if (targets.length === 1) return from.map((port) => [target[0], port]);
  return from.length === targets.length
    ? targets.map((to, index): [number, number] => [to, from[index] ?? 0]).sort(byText)
    : undefined;
}

const byText = ([left]: readonly [number, unknown], [right]: readonly [number, unknown]): number =>
  String(left) < String(right) ? -1 : 1;

/** What a service mounts, and where. */
export interface Volume {
  readonly type: string;
  readonly target?: string | undefined;
  readonly source?: string | undefined;
  readonly read_only?: boolean | undefined;
  readonly consistency?: string | undefined;
  readonly volume?: { readonly nocopy?: boolean | undefined; readonly subpath?: string | undefined } | undefined;
  readonly bind?: { readonly propagation?: string | undefined } | undefined;
  readonly image?: { readonly subpath?: string | undefined } | undefined;
  readonly tmpfs?: { readonly size?: number | undefined } | undefined;
  readonly cluster?: object | undefined;
}

const propagations = ['rprivate', 'private', 'rshared', 'shared', 'rslave', 'slave'];

/** Reads `[SOURCE:]TARGET[:OPTION,…]`: a path is bound, a name is a volume. @throws CommandError in docker's words. */
export function parseVolume(text: string): Volume {
  if (text === '') throw new CommandError('invalid empty volume spec');
  const parts = text.split(':');
  const invalid = (what: string) => new CommandError(`invalid spec: ${text}: ${what}`);
  if (parts.includes('')) throw invalid('empty section between colons');
  if (parts.length > 3) throw invalid('too many colons');
  const [first = '', target, options = ''] = parts;
  if (target === undefined) return { type: 'volume', target: first };
  const words = options.split(',');
  const propagation = words.find((word) => propagations.includes(word));
  return {
    type: /^[./~]/.test(first) ? 'bind' : 'volume',
    source: first,
    target,
    ...(words.findLast((word) => word === 'ro' || word === 'rw') === 'ro' && { read_only: true }),
    ...(words.includes('nocopy') && { volume: { nocopy: true } }),
    ...(propagation !== undefined && { bind: { propagation } }),
  };
}
