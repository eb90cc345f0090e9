/** RTM_…NEIGH messages (linux/neighbour.h), which serve two tables: ARP/ND and the forwarding databases. */
import { attributes, be16, ip, mac, u32 } from '../wire/attributes.ts';
import { struct } from '../wire/struct.ts';

export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;

/** struct ndmsg */
export const ndmsg = struct({
  family: 'u8',
  pad1: 'u8',
  pad2: 'u16',
  index: 's32',
  state: 'u16',
  flags: 'u8',
  type: 'u8',
});

/** NDA_* */
export const neighbourAttributes = attributes({
  destination: [1, ip],
  mac: [2, mac],
  port: [6, be16],
  vni: [7, u32],
  /** Dump filter: the link; in an FDB entry: the link to send through. */
  filterIndex: [8, u32],
  master: [9, u32],
});

// NTF_*
export const NTF_SELF = 0x02;
export const NTF_MASTER = 0x04;
export const NTF_PROXY = 0x08;
export const NTF_EXT_LEARNED = 0x10;
export const NTF_STICKY = 0x40;
export const NTF_ROUTER = 0x80;

/** NUD_*; in the order in which a combination is named. */
const states = {
  permanent: 0x80,
  noarp: 0x40,
  reachable: 0x02,
  stale: 0x04,
  delay: 0x08,
  probe: 0x10,
  incomplete: 0x01,
  failed: 0x20,
} as const;
export type NeighbourState = keyof typeof states | 'none';

export const stateNumber = (state: NeighbourState): number => (state === 'none' ? 0 : states[state]);

export function stateName(bits: number): NeighbourState {
  for (const [name, bit] of Object.entries(states)) if ((bits & bit) !== 0) return name as keyof typeof states;
  return 'none';
}

export interface NeighbourMessage {
  readonly header: ReturnType<typeof ndmsg.decode>;
  readonly values: ReturnType<typeof neighbourAttributes.decode>;
}

export function encodeNeighbourMessage(
  header: Parameters<typeof ndmsg.encode>[0],
  values: Parameters<typeof neighbourAttributes.encode>[0],
): Uint8Array {
  return Buffer.concat([ndmsg.encode(header), neighbourAttributes.encode(values)]);
}

export function decodeNeighbourMessage(payload: Uint8Array): NeighbourMessage {
  return { header: ndmsg.decode(payload), values: neighbourAttributes.decode(payload.subarray(ndmsg.size)) };
}
