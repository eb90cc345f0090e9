/**
 * What happens to flows whose other end has gone: the kernel forgets them, so that the next packet is decided anew. Where
 * it does not let itself be asked, they end by the clock: that is logged, and stops nothing.
 */
import { Conntrack, familyOf, type NetworkNamespace, readSysctl } from '@skein/netlink';
import { errorText, type Logger } from '../common/index.ts';

/** Looked at first, as listing costs milliseconds: the kernel has one table for all namespaces. */
const flowCount = 'net.netfilter.nf_conntrack_count';

const IPPROTO_UDP = 17;

/**
 * Forgets datagram flows to these ports that nobody translates: whoever sent before the port was published, and goes on,
 * would never be led anywhere. @returns how many.
 */
export function forgetUntranslated(namespace: NetworkNamespace, ports: ReadonlySet<number>, logger: Logger): number {
  if (ports.size === 0) return 0;
  return forget(namespace, logger, (conntrack) =>
    conntrack.deleteMatching(
      ({ protocol, original, reply }) =>
        protocol === IPPROTO_UDP &&
        ports.has(original.destinationPort ?? 0) &&
        reply.source === original.destination &&
        reply.sourcePort === original.destinationPort &&
        reply.destination === original.source &&
        reply.destinationPort === original.sourcePort,
    ),
  );
}

/**
 * Forgets datagram flows to these ports that are led where the port leads no more: a sender who never pauses would go on
 * being led there. @param moved port → the addresses that it led to. @returns how many.
 */
export function forgetMoved(
  namespace: NetworkNamespace,
  moved: ReadonlyMap<number, ReadonlySet<string>>,
  logger: Logger,
): number {
  if (moved.size === 0) return 0;
  return forget(namespace, logger, (conntrack) =>
    conntrack.deleteMatching(
      ({ protocol, original, reply }) =>
        protocol === IPPROTO_UDP &&
        reply.source !== original.destination &&
        moved.get(original.destinationPort ?? 0)?.has(reply.source) === true,
    ),
  );
}

/** Forgets the flows that were led to one of the addresses. @returns how many. */
export function forgetFlows(namespace: NetworkNamespace, led: ReadonlySet<string>, logger: Logger): number {
  if (led.size === 0) return 0;
  const families = new Set([...led].map(familyOf));
  return forget(namespace, logger, (conntrack) =>
    [...families].reduce(
      (count, family) =>
        count +
        conntrack.deleteMatching(
          ({ original, reply }) => led.has(reply.source) && original.destination !== reply.source,
          { family },
        ),
      0,
    ),
  );
}

function forget(namespace: NetworkNamespace, logger: Logger, action: (conntrack: Conntrack) => number): number {
  try {
    if (readSysctl(namespace, flowCount) === '0') return 0;
    using conntrack = Conntrack.open(namespace);
    return action(conntrack);
  } catch (error) {
    logger.error({ error: errorText(error) }, 'cannot forget flows');
    return 0;
  }
}
