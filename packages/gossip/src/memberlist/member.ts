import { type Address, type Alive, ipFromBytes, type NodeState, type PushNodeState } from '../wire/index.ts';

export type MemberState = 'alive' | 'suspect' | 'dead' | 'left';

/** A node as this node knows it. */
export interface Member {
  readonly name: string;
  readonly address: Address;
  readonly meta: Uint8Array;
  /** Protocol versions [pmin, pmax, pcur, dmin, dmax, dcur]. */
  readonly vsn: Uint8Array;
  readonly incarnation: number;
  readonly state: MemberState;
  /** Clock time, in ms, of the last change of `state`. */
  readonly stateChange: number;
}

/** The same, for the code that keeps it. */
export type MutableMember = { -readonly [K in keyof Member]: Member[K] } & { addr: Uint8Array };

/** Protocol 2, delegate protocol 0: what Docker sends. */
export const VSN = Uint8Array.of(1, 5, 2, 0, 0, 0);
const VSN_LENGTH = 6;

const stateOf: readonly MemberState[] = ['alive', 'suspect', 'dead', 'left'];
const numberOf: { readonly [S in MemberState]: (typeof NodeState)[S] } = { alive: 0, suspect: 1, dead: 2, left: 3 };

/** The state of a pushed node; undefined for a number that there is not. */
export function pushedState(state: number): MemberState | undefined {
  return stateOf[state];
}

/** Whether the versions are such that a peer can be spoken with. */
export function isAcceptableVsn(vsn: Uint8Array): boolean {
  if (vsn.length === 0) return true;
  const [min = 0, max = 0] = vsn;
  return vsn.length >= VSN_LENGTH && min > 0 && max > 0 && min <= max;
}

/** A member from its first alive message; dead until that message is applied. Throws `WireError` for a bad address. */
export function newMember(alive: Alive, now: number): MutableMember {
  return {
    name: alive.node,
    addr: alive.addr,
    address: { host: ipFromBytes(alive.addr), port: alive.port },
    meta: alive.meta,
    vsn: alive.vsn,
    incarnation: 0,
    state: 'dead',
    stateChange: now,
  };
}

export function toPushNodeState(member: MutableMember): PushNodeState {
  const { name, addr, address, meta, incarnation, state, vsn } = member;
  return { name, addr, port: address.port, meta, incarnation, state: numberOf[state], vsn };
}
