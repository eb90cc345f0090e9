/** A place in the host's ports. Pure. */
import { isIPv6 } from 'node:net';

export type PortProtocol = 'tcp' | 'udp' | 'sctp';

/** All addresses of the host, those of IPv6 included. */
export const anyAddress = '0.0.0.0';
/** All its addresses of IPv6. */
export const anyIpv6Address = '::';

export interface PortPlace {
  readonly protocol: PortProtocol;
  /** `0.0.0.0` = all addresses of the host, `::` = all of IPv6. */
  readonly address: string;
  /** 0 = any that is free. */
  readonly port: number;
}

export const placeKey = ({ protocol, address, port }: PortPlace): string => `${protocol} ${address} ${port}`;

/** @returns whether something at one address is also at the other. */
export function overlap(one: string, other: string): boolean {
  const isAllOf = (wide: string, narrow: string): boolean =>
    wide === anyAddress || (wide === anyIpv6Address && isIPv6(narrow));
  return one === other || isAllOf(one, other) || isAllOf(other, one);
}
