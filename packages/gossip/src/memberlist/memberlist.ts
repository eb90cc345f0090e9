import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import {
  type Clock,
  Counters,
  type Logger,
  type Random,
  sample,
  silentLogger,
  systemClock,
  systemRandom,
  type Timer,
} from '../runtime/index.ts';
import type { Transport } from '../transport/index.ts';
import {
  type AckResp,
  type Address,
  COMPOUND_PART_OVERHEAD,
  ipToBytes,
  Keyring,
  type Part,
  type Ping,
  type PushPull,
  parseAddress,
  toPart,
} from '../wire/index.ts';
import { Awareness } from './awareness.ts';
import { BroadcastQueue } from './broadcast-queue.ts';
import type { Channel } from './channel.ts';
import { lanConfig, type MemberlistConfig, pushPullInterval, retransmitLimit } from './config.ts';
import { hostAnswers } from './host-check.ts';
import { type Member, toPushNodeState, VSN } from './member.ts';
import { isHere, type MemberEvents, Membership } from './membership.ts';
import { Prober } from './prober.ts';
import { WireChannel } from './wire-channel.ts';

/** What rides on memberlist. None of these throws. */
export interface Delegate {
  /** A user message, by packet or stream. */
  message?(data: Uint8Array, from: Address): void;
  /** State to give to a peer in a push/pull. */
  localState?(join: boolean): Uint8Array;
  /** A peer's state. `quiet`: nothing in it is news to anybody else. */
  mergeState?(state: Uint8Array, quiet: boolean): void;
}

interface CommonOptions {
  /** Unique in the cluster, and new at every start: a re-used name has to overtake its old incarnation first. */
  readonly name: string;
  /** Where the others reach this node: an IP literal. The bound address by default. */
  readonly advertise?: Address;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
  readonly keyring?: Keyring;
  readonly delegate?: Delegate;
  readonly events?: MemberEvents;
  readonly config?: Partial<MemberlistConfig>;
}
/** The transport's owner is the memberlist from here on. A channel takes its place where no bytes are wanted. */
export type MemberlistOptions = CommonOptions & ({ readonly transport: Transport } | { readonly channel: Channel });

/** A group of nodes that know of each other: SWIM with Lifeguard, as hashicorp/memberlist speaks it. */
export class Memberlist {
  readonly name: string;
  readonly keyring: Keyring;
  /** Refused input, by cause. */
  readonly drops = new Counters();
  readonly #config: MemberlistConfig;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #logger: Logger;
  readonly #delegate: Delegate;
  readonly #channel: Channel;
  readonly #awareness: Awareness;
  readonly #membership: Membership;
  readonly #prober: Prober;
  readonly #memberBroadcasts: BroadcastQueue;
  readonly #userBroadcasts: BroadcastQueue;
  #gossipTimer: Timer | undefined;
  /** Clock time of the last gossip tick, in ms. */
  #lastGossip = Number.NEGATIVE_INFINITY;
  #pushPullTimer: Timer | undefined;
  #state: 'new' | 'running' | 'closed' = 'new';

  constructor(options: MemberlistOptions) {
    const config = { ...lanConfig, ...options.config };
    const { clock = systemClock, random = systemRandom, logger = silentLogger } = options;
    this.name = options.name;
    this.keyring = options.keyring ?? new Keyring();
    this.#config = config;
    this.#clock = clock;
    this.#random = random;
    this.#logger = logger;
    this.#delegate = options.delegate ?? {};
    this.#channel =
      'channel' in options
        ? options.channel
        : new WireChannel({
            transport: options.transport,
            keyring: this.keyring,
            clock,
            random,
            logger,
            drops: this.drops,
            streamTimeout: config.streamTimeout,
          });
    const advertise = options.advertise ?? this.#channel.address;
    const addr = ipToBytes(advertise.host);
    const self = { incarnation: 1, node: options.name, addr, port: advertise.port, meta: new Uint8Array(0), vsn: VSN };
    this.#awareness = new Awareness(config.awarenessMaxMultiplier);
    this.#memberBroadcasts = new BroadcastQueue(config.maxQueuedBroadcasts);
    this.#userBroadcasts = new BroadcastQueue(config.maxQueuedBroadcasts);
    this.#membership = new Membership({
      self,
      config,
      clock,
      random,
      logger,
      awareness: this.#awareness,
      events: options.events ?? {},
      drops: this.drops,
      hostAnswers: (address) => this.hostAnswers(address),
      broadcast: (name, part) => {
        this.#memberBroadcasts.push(name, part);
        this.#armGossip(config.gossipInterval * (0.5 + random.next() / 2));
      },
    });
    this.#prober = new Prober({
      membership: this.#membership,
      channel: this.#channel,
      config,
      clock,
      random,
      awareness: this.#awareness,
      send: (to, parts) => this.#sendWithBroadcasts(to, parts),
      askedForOther: (asker, address) => this.#introduce(asker, address),
    });
  }

  #isIntroducing = false;

  /** Lifeguard's score of this node itself: 0 is well, higher is slow or badly connected. */
  get localHealth(): number {
    return this.#awareness.score;
  }

  /** This node as the others know it. */
  get self(): Member {
    return this.#membership.self;
  }

  /** Bytes that a user message sent by itself may have in a packet. */
  get userPacketSize(): number {
    return this.#channel.packetBudget - 1;
  }

  /** Living members, suspected ones and this node among them. */
  members(): Member[] {
    return [this.self, ...this.#membership.others()];
  }

  /** Number of known members, those that died lately among them. */
  get size(): number {
    return this.#membership.list.length;
  }

  member(name: string): Member | undefined {
    return this.#membership.get(name);
  }

  /** Whether the host at an address answers, though the daemon there may be stopped or gone. */
  hostAnswers(address: Address): Promise<boolean> {
    return hostAnswers(this.#channel, this.#clock, address, this.#config.hostTimeout);
  }

  /** Whether the node of this name answers at an address, and not another that is there. Never rejects. */
  answers(name: string, address: Address): Promise<boolean> {
    return this.#prober.ask(name, address);
  }

  /** Tells everybody that a member is gone, of whom that is certain. */
  declareDead(name: string): void {
    const member = this.#membership.get(name);
    if (member) this.#membership.dead({ incarnation: member.incarnation, node: name, from: this.name });
  }

  /** Begins to listen, probe and gossip. */
  start(): void {
    if (this.#state !== 'new') return;
    this.#state = 'running';
    this.#channel.receive({
      packet: (from, parts) => this.#receive(from, parts),
      pushPull: (_from, remote) => this.#answerPushPull(remote),
      user: (from, data) => this.#delegate.message?.(data, from),
      ping: (ping) => this.#answerStreamPing(ping),
    });
    this.#membership.announce();
    this.#prober.start();
    this.#armPushPull(this.#random.next());
  }

  #receive(from: Address, parts: readonly Part[]): void {
    if (this.#state !== 'running') return;
    for (const part of parts) {
      try {
        this.#apply(from, part);
      } catch (error) {
        this.drops.add('failed');
        this.#logger.debug('message dropped', { type: part.message.type, error });
      }
    }
  }

  #apply(from: Address, part: Part): void {
    const { message } = part;
    switch (message.type) {
      case 'alive':
        this.#membership.alive(message.body, part);
        return;
      case 'suspect':
        this.#membership.suspect(message.body, part);
        return;
      case 'dead':
        this.#membership.dead(message.body, part);
        return;
      case 'user':
        this.#delegate.message?.(message.body, from);
        return;
      default:
        this.#prober.handle(from, message);
        return;
    }
  }

  #answerStreamPing(ping: Ping): AckResp | undefined {
    if (ping.node !== '' && ping.node !== this.name) return undefined;
    return { seqNo: ping.seqNo, payload: new Uint8Array(0) };
  }

  #localState(join: boolean): PushPull {
    const nodes = this.#membership.list.map(toPushNodeState);
    return { join, nodes, userState: this.#delegate.localState?.(join) ?? new Uint8Array(0) };
  }

  #answerPushPull(remote: PushPull): PushPull {
    const local = this.#localState(remote.join);
    this.#merge(remote, false);
    return local;
  }

  #merge(remote: PushPull, quiet: boolean): void {
    if (this.#state !== 'running') return;
    this.#membership.merge(remote.nodes, quiet);
    if (remote.userState.length > 0) this.#delegate.mergeState?.(remote.userState, quiet);
  }

  /**
   * Exchanges states with each of the addresses (`host`, `host:port`; this node's port by default).
   * Resolves to the number that answered; rejects with an AggregateError when there were addresses and none did.
   */
  async join(addresses: readonly string[], defaultPort = this.self.address.port): Promise<number> {
    const outcomes = await Promise.allSettled(
      addresses.map(async (address) => this.#pushPull(await resolve(parseAddress(address, defaultPort)), true)),
    );
    const failures = outcomes.filter((outcome) => outcome.status === 'rejected').map(({ reason }) => reason as unknown);
    const joined = outcomes.length - failures.length;
    if (joined === 0 && failures.length > 0) {
      throw new AggregateError(failures, `none of ${addresses.join(', ')} could be joined: ${describe(failures[0])}`);
    }
    return joined;
  }

  async #pushPull(to: Address, join: boolean): Promise<void> {
    // What one who knows nobody learns is news to nobody.
    const alone = this.#membership.list.length === 1;
    const remote = await this.#channel.pushPull(to, this.#localState(join), this.#config.streamTimeout);
    this.#merge({ ...remote, join }, join && alone);
  }

  /**
   * Who asks for a former life of this node does not know of this one, and may wait for the other's death for long: a
   * node that nobody gave addresses to, such as the only manager's, is told of in this way at once.
   */
  #introduce(asker: string, address: Address): void {
    const known = this.#membership.get(asker);
    if (this.#isIntroducing || asker === '' || (known && isHere(known))) return;
    this.#isIntroducing = true;
    void this.#pushPull(address, true)
      .catch((error: unknown) => this.#logger.debug('introduction failed', { peer: asker, error }))
      .finally(() => {
        this.#isIntroducing = false;
      });
  }

  #armPushPull(stagger: number): void {
    if (this.#state !== 'running') return;
    const interval = pushPullInterval(this.#config.pushPullInterval, this.size);
    this.#pushPullTimer = this.#clock.setTimeout(() => {
      const [peer] = sample(this.#random, this.#membership.list, 1, (member) => {
        return member.state === 'alive' && member !== this.self;
      });
      if (peer) {
        this.#pushPull(peer.address, false).catch((error: unknown) => {
          this.#logger.debug('push/pull failed', { peer: peer.name, error });
        });
      }
      this.#armPushPull(1);
    }, interval * stagger);
  }

  /** Queues a user message for everybody; a newer one of the same name replaces it. `onDone` runs when it was sent often enough. */
  queueBroadcast(name: string, data: Uint8Array, onDone?: () => void): void {
    this.#userBroadcasts.push(name, toPart({ type: 'user', body: data }), onDone);
    // After a rest what networkdb tells goes out at once but for what comes with it, then the interval holds.
    const { gossipDelay, gossipInterval } = this.#config;
    this.#armGossip(Math.max(gossipDelay, this.#lastGossip + gossipInterval - this.#clock.now()));
  }

  /** Sends a user message in a packet of its own; it may get lost. */
  sendUserMessage(to: Address, data: Uint8Array): void {
    if (this.#state === 'running') this.#channel.send(to, [toPart({ type: 'user', body: data })]);
  }

  /** Sends a user message over a stream; rejects if it did not arrive. */
  async sendUserStream(to: Address, data: Uint8Array): Promise<void> {
    await this.#channel.sendUser(to, data, this.#config.streamTimeout);
  }

  #armGossip(delay: number): void {
    if (this.#gossipTimer || this.#state === 'closed') return;
    this.#gossipTimer = this.#clock.setTimeout(() => this.#gossip(), delay);
  }

  /** Runs as long as there is something to tell. */
  #gossip(): void {
    this.#gossipTimer = undefined;
    if (this.#state !== 'running') return;
    this.#lastGossip = this.#clock.now();
    const deadSince = this.#clock.now() - this.#config.gossipToTheDead;
    const targets = sample(this.#random, this.#membership.list, this.#config.gossipNodes, (member) => {
      if (member === this.self) return false;
      const isLatelyDead = member.state === 'dead' && member.stateChange > deadSince;
      return isHere(member) || (isLatelyDead && !this.#membership.isReplaced(member));
    });
    for (const target of targets) this.#sendWithBroadcasts(target.address, []);
    if (this.#memberBroadcasts.size + this.#userBroadcasts.size === 0) return;
    this.#armGossip(this.#config.gossipInterval);
  }

  #sendWithBroadcasts(to: Address, parts: Part[]): void {
    const limit = retransmitLimit(this.#config.retransmitMult, this.size);
    let budget = this.#channel.packetBudget;
    for (const part of parts) budget -= part.bytes.length + COMPOUND_PART_OVERHEAD;
    const left = this.#memberBroadcasts.take(budget, limit, parts);
    this.#userBroadcasts.take(left, limit, parts);
    if (parts.length > 0) this.#channel.send(to, parts);
  }

  /** Tells the others that this node goes, and waits up to `timeout` ms for that to spread. */
  async leave(timeout: number): Promise<void> {
    if (this.#state !== 'running' || this.#membership.leaving) return;
    const someoneListens = this.#membership.others().length > 0;
    this.#membership.leaving = true;
    this.#memberBroadcasts.clear();
    const { incarnation } = this.self;
    const body = { incarnation, node: this.name, from: this.name };
    const part = toPart({ type: 'dead', body });
    this.#membership.dead(body, part);
    if (!someoneListens) return;
    await new Promise<void>((resolve) => {
      const timer = this.#clock.setTimeout(resolve, timeout);
      this.#memberBroadcasts.push(this.name, part, () => {
        this.#clock.clearTimeout(timer);
        resolve();
      });
    });
  }

  /** Stops at once, without a word to the others, and closes the transport. */
  async close(): Promise<void> {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#prober.close();
    this.#membership.close();
    for (const timer of [this.#gossipTimer, this.#pushPullTimer]) if (timer) this.#clock.clearTimeout(timer);
    this.#memberBroadcasts.clear();
    this.#userBroadcasts.clear();
    await this.#channel.close();
  }
}

async function resolve(address: Address): Promise<Address> {
  if (isIP(address.host)) return address;
  return { host: (await lookup(address.host)).address, port: address.port };
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
