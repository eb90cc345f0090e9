import { type Clock, type Counters, type Logger, type Random, randomInteger } from '../runtime/index.ts';
import {
  type Accusation,
  type Address,
  type Alive,
  formatAddress,
  ipFromBytes,
  type Part,
  type PushNodeState,
  toPart,
} from '../wire/index.ts';
import type { Awareness } from './awareness.ts';
import type { MemberlistConfig } from './config.ts';
import { isAcceptableVsn, type Member, type MutableMember, newMember, pushedState } from './member.ts';
import { Suspicion, type SuspicionTimes, suspicionTimeout } from './suspicion.ts';

/** Called as members change. The handlers do not throw. */
export interface MemberEvents {
  /** A member is there: new, or back from death. */
  join?(member: Member): void;
  /** A member died (`state` dead) or left (`state` left). */
  leave?(member: Member): void;
  /** A living member's metadata changed. */
  update?(member: Member): void;
  /** A member is suspected to be dead. */
  suspect?(member: Member): void;
  /** Others held this node for dead. It has refuted that; what they did on its death is done. */
  declaredDead?(): void;
}

export interface MembershipOptions {
  readonly self: Alive;
  readonly config: MemberlistConfig;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly awareness: Awareness;
  readonly events: MemberEvents;
  readonly drops: Counters;
  /** Whether the host at an address answers, be its daemon what it may. */
  hostAnswers(address: Address): Promise<boolean>;
  /** Passes on news about a member. */
  broadcast(name: string, part: Part): void;
}

const IP_LENGTHS = [4, 16];
const MAX_INCARNATION = 0xffffffff;
const equal = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** SWIM's state machine: who is there, who is suspected, who is gone. It sends nothing but broadcasts. */
export class Membership {
  /** All known members, in random order, this node among them. BOUNDED by config.maxMembers. */
  readonly list: MutableMember[] = [];
  readonly self: MutableMember;
  /** Set before this node declares itself gone, so that it does not refute that. */
  leaving = false;
  /** The life of this node's daemon before this one, if it was heard of. */
  #formerLife: Alive | undefined;
  readonly #options: MembershipOptions;
  readonly #byName = new Map<string, MutableMember>();
  /** Address → the last name that became alive there. BOUNDED by the members. */
  readonly #tenants = new Map<string, string>();
  /** BOUNDED by the members. */
  readonly #suspicions = new Map<string, Suspicion>();

  constructor(options: MembershipOptions) {
    this.#options = options;
    this.self = newMember(options.self, options.clock.now());
    this.self.incarnation = options.self.incarnation;
    this.self.state = 'alive';
    this.#add(this.self);
    this.#tenants.set(formatAddress(this.self.address), this.self.name);
  }

  get(name: string): MutableMember | undefined {
    return this.#byName.get(name);
  }

  #add(member: MutableMember): void {
    this.#byName.set(member.name, member);
    this.list.push(member);
    const other = randomInteger(this.#options.random, this.list.length);
    this.list[this.list.length - 1] = this.list[other] as MutableMember;
    this.list[other] = member;
  }

  /** Tells everybody that this node is there. */
  announce(): void {
    const { name, incarnation, addr, address, meta, vsn } = this.self;
    const body = { incarnation, node: name, addr, port: address.port, meta, vsn };
    this.#options.broadcast(name, toPart({ type: 'alive', body }));
  }

  /**
   * Applies an alive message. `part` is what to pass on; without it the message is encoded anew.
   * `quiet` keeps what a joiner learns from being told to those that it learned it from.
   */
  alive(alive: Alive, part?: Part, quiet = false): void {
    if (alive.node === this.self.name) {
      this.#aliveSelf(alive);
      return;
    }
    if (!isAcceptableVsn(alive.vsn)) {
      this.#options.drops.add('protocol-version');
      return;
    }
    if (alive.port === 0 || alive.node === '' || !IP_LENGTHS.includes(alive.addr.length)) {
      this.#options.drops.add('malformed');
      return;
    }
    if (alive.port === this.self.address.port && equal(alive.addr, this.self.addr)) {
      this.#endFormerLife(alive);
      return;
    }
    let member = this.#byName.get(alive.node);
    let isNews = !member || alive.incarnation > member.incarnation;
    if (!member) {
      if (this.list.length >= this.#options.config.maxMembers) {
        this.#options.drops.add('too-many-members');
        return;
      }
      member = newMember(alive, this.#options.clock.now());
      this.#add(member);
    } else if (member.address.port !== alive.port || !equal(member.addr, alive.addr)) {
      if (member.state !== 'left') {
        this.#conflict(member, alive);
        return;
      }
      isNews = true;
    }
    if (!isNews) return;
    this.#trust(member.name);
    if (!quiet) this.#options.broadcast(alive.node, part ?? toPart({ type: 'alive', body: alive }));
    this.#becomeAlive(member, alive);
  }

  /**
   * Who is said to be at this node's own address is a former life of it. That it is over need not be found out by all
   * others: until then one who comes takes either for gone, and a dockerd never asks again. Who refutes it lives: two
   * nodes with one address are left to the failure detector.
   */
  #endFormerLife(alive: Alive): void {
    const { incarnation, node } = alive;
    if (this.#formerLife?.node === node && incarnation > this.#formerLife.incarnation) {
      this.#conflict(this.self, alive);
      return;
    }
    this.#formerLife = alive;
    this.#pass('dead', { incarnation, node, from: this.self.name }, undefined);
  }

  #becomeAlive(member: MutableMember, alive: Alive): void {
    const wasGone = member.state === 'dead' || member.state === 'left';
    const metaChanged = !equal(member.meta, alive.meta);
    member.incarnation = alive.incarnation;
    member.addr = alive.addr;
    member.address = { host: ipFromBytes(alive.addr), port: alive.port };
    this.#tenants.set(formatAddress(member.address), member.name);
    member.meta = alive.meta;
    if (alive.vsn.length > 0) member.vsn = alive.vsn;
    this.#change(member, 'alive');
    if (wasGone) this.#options.events.join?.(member);
    else if (metaChanged) this.#options.events.update?.(member);
  }

  /** Somebody speaks for this node: an old self of the same name, or an echo. */
  #aliveSelf(alive: Alive): void {
    if (this.leaving || alive.incarnation < this.self.incarnation) return;
    const same =
      alive.port === this.self.address.port &&
      equal(alive.addr, this.self.addr) &&
      equal(alive.meta, this.self.meta) &&
      equal(alive.vsn, this.self.vsn);
    if (same && alive.incarnation === this.self.incarnation) return;
    this.#refute(alive.incarnation);
  }

  #conflict(member: Member, alive: Alive): void {
    this.#options.drops.add('address-conflict');
    this.#options.logger.warn('a node uses the name or the address of another', {
      name: member.name,
      known: member.address,
      claimant: alive.node,
      claimed: { host: ipFromBytes(alive.addr), port: alive.port },
    });
  }

  #refute(accused: number): void {
    if (accused >= MAX_INCARNATION) {
      this.#options.drops.add('incarnation');
      return;
    }
    this.self.incarnation = Math.max(this.self.incarnation, accused) + 1;
    this.#options.awareness.apply(1);
    this.announce();
  }

  suspect(suspect: Accusation, part?: Part): void {
    const member = this.#byName.get(suspect.node);
    if (!member || this.#isOld(member, suspect)) return;
    const running = this.#suspicions.get(member.name);
    if (running) {
      if (running.confirm(suspect.from)) this.#pass('suspect', suspect, part);
      return;
    }
    if (member.state !== 'alive') return;
    if (member === this.self) {
      this.#refute(suspect.incarnation);
      return;
    }
    this.#pass('suspect', suspect, part);
    member.incarnation = suspect.incarnation;
    this.#change(member, 'suspect');
    this.#suspicions.set(member.name, this.#startSuspicion(member, suspect.from));
    this.#options.events.suspect?.(member);
  }

  /** Whether it was refuted before. Who accuses this node still has missed that, so that it is said again. */
  #isOld(member: Member, { incarnation }: Accusation): boolean {
    if (incarnation >= member.incarnation) return false;
    if (member === this.self && !this.leaving) this.announce();
    return true;
  }

  #startSuspicion(member: MutableMember, from: string): Suspicion {
    const { config, clock } = this.#options;
    // Others who could confirm: not we, not the suspect, and the first accuser is known already.
    const expected = this.list.length - 2 < config.confirmations ? 0 : config.confirmations;
    let hadItsTime = false;
    const suspicion = new Suspicion(clock, from, expected, this.#times(config.silentSuspicion), () => {
      void this.#options.hostAnswers(member.address).then((answers) => {
        if (this.#suspicions.get(member.name) !== suspicion) return;
        if (answers && !hadItsTime) {
          hadItsTime = true;
          suspicion.prolong(this.#times(config.suspicion));
        } else this.dead({ incarnation: member.incarnation, node: member.name, from: this.self.name });
      });
    });
    return suspicion;
  }

  #times(base: number): SuspicionTimes {
    const { suspicion, suspicionMaxTimeoutMult } = this.#options.config;
    const nodes = this.list.length;
    // What nobody confirms may be said by one who is cut off itself: it must not be quick to hold all others for dead.
    const max = suspicionTimeout(suspicion, nodes) * suspicionMaxTimeoutMult;
    return { min: suspicionTimeout(base, nodes), max };
  }

  dead(dead: Accusation, part?: Part): void {
    const member = this.#byName.get(dead.node);
    if (!member || this.#isOld(member, dead)) return;
    this.#trust(member.name);
    if (member.state === 'dead' || member.state === 'left') return;
    if (member === this.self && !this.leaving) {
      this.#refute(dead.incarnation);
      this.#options.events.declaredDead?.();
      return;
    }
    this.#pass('dead', dead, part);
    member.incarnation = dead.incarnation;
    this.#change(member, dead.node === dead.from ? 'left' : 'dead');
    this.#options.events.leave?.(member);
  }

  /** Applies what a peer knows. `quiet`: see `alive`. */
  merge(nodes: readonly PushNodeState[], quiet: boolean): void {
    for (const node of nodes) {
      const { name, incarnation } = node;
      const accusation = { incarnation, node: name, from: this.self.name };
      switch (pushedState(node.state)) {
        case 'alive':
          this.alive({ ...node, node: name }, undefined, quiet);
          break;
        case 'left':
          this.dead({ ...accusation, from: name });
          break;
        // A peer's dead may only be cut off from it: suspicion leaves the time to refute.
        case 'dead':
          if (name === this.self.name && incarnation >= this.self.incarnation) this.#options.events.declaredDead?.();
          this.suspect(accusation);
          break;
        case 'suspect':
          this.suspect(accusation);
          break;
        default:
          this.#options.drops.add('malformed');
      }
    }
  }

  #pass(type: 'suspect' | 'dead', body: Accusation, part: Part | undefined): void {
    this.#options.broadcast(body.node, part ?? toPart({ type, body }));
  }

  #change(member: MutableMember, state: MutableMember['state']): void {
    if (member.state === state) return;
    member.state = state;
    member.stateChange = this.#options.clock.now();
  }

  #trust(name: string): void {
    this.#suspicions.get(name)?.cancel();
    this.#suspicions.delete(name);
  }

  /** Forgets those who have been gone for longer than they are gossiped to. */
  forgetGone(): void {
    const before = this.#options.clock.now() - this.#options.config.gossipToTheDead;
    let kept = 0;
    for (const member of this.list) {
      const gone = (member.state === 'dead' || member.state === 'left') && member.stateChange < before;
      if (gone && member !== this.self) this.#forget(member);
      else this.list[kept++] = member;
    }
    this.list.length = kept;
  }

  #forget({ name, address }: Member): void {
    this.#byName.delete(name);
    const place = formatAddress(address);
    if (this.#tenants.get(place) === name) this.#tenants.delete(place);
  }

  /** Whether another lives at the member's address, who hears under his own name what is sent there. */
  isReplaced({ name, address }: Member): boolean {
    const tenant = this.#byName.get(this.#tenants.get(formatAddress(address)) ?? '');
    return tenant !== undefined && tenant.name !== name && isHere(tenant);
  }

  /** Living members, suspected ones among them, without this node. */
  others(): Member[] {
    return this.list.filter((member) => member !== this.self && isHere(member));
  }

  /** Members under suspicion. */
  suspects(): Member[] {
    return [...this.#suspicions.keys()].flatMap((name) => this.#byName.get(name) ?? []);
  }

  close(): void {
    for (const suspicion of this.#suspicions.values()) suspicion.cancel();
    this.#suspicions.clear();
  }
}

/** Alive or only suspected. */
export function isHere(member: Member): boolean {
  return member.state === 'alive' || member.state === 'suspect';
}

/** The sender's address on the wire, or where the packet came from. */
export function replyAddress(sourceAddr: Uint8Array, sourcePort: number, from: Address): Address {
  return sourceAddr.length > 0 && sourcePort > 0 ? { host: ipFromBytes(sourceAddr), port: sourcePort } : from;
}
