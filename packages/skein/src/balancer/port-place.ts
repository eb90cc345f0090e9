/** A place in the host's ports. Pure. */

export type PortProtocol = 'tcp' | 'udp' | 'sctp';

/** All addresses of the host. */
export const anyAddress = '0.0.0.0';

export interface PortPlace {
  readonly protocol: PortProtocol;
  /** `0.0.0.0` = all addresses of the host. */
  readonly address: string;
  /** 0 = any that is free. */
  readonly port: number;
}

export const placeKey = ({ protocol, address, port }: PortPlace): string => `${protocol} ${address} ${port}`;

/** @returns whether something at one address is also at the other. */
export function overlap(one: string, other: string): boolean {
  return one === other || one === anyAddress || other === anyAddress;
}
