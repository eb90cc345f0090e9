import { type Clock, type Random, randomInteger, sample, shuffle, sleep, type Timer } from '../runtime/index.ts';
import { type Address, type IndirectPing, type Message, type Part, type Ping, toPart } from '../wire/index.ts';
import type { Awareness } from './awareness.ts';
import type { Channel } from './channel.ts';
import type { MemberlistConfig } from './config.ts';
import type { Member } from './member.ts';
import { isHere, type Membership, replyAddress } from './membership.ts';

/** Members of at least this protocol answer nack (state.go). */
const NACK_PROTOCOL = 4;
/** Share of the probe time-out after which a helper says that it has no answer: in time for who asked. */
const NACK_SHARE = 0.8;
/** Pings in the time-out of one who is asked by name: one lost packet must not decide. */
const ASKING_TRIES = 3;
/** Answers waited for at a time: one own probe and what others ask; more are not taken. */
const MAX_PENDING = 1024;
const SEQUENCE_SIZE = 0x1_0000_0000;

interface Pending {
  ack(): void;
  nack(): void;
}

export interface ProberOptions {
  readonly membership: Membership;
  readonly channel: Channel;
  readonly config: MemberlistConfig;
  readonly clock: Clock;
  readonly random: Random;
  readonly awareness: Awareness;
  /** Sends messages with broadcasts on top. */
  send(to: Address, parts: Part[]): void;
  /** A node asked for another than this one here: for a former life of it. */
  askedForOther(asker: string, address: Address): void;
}

/** SWIM's failure detector: asks one member after the other whether it lives, itself and through others. */
export class Prober {
  readonly #options: ProberOptions;
  /** BOUNDED by MAX_PENDING. */
  readonly #pending = new Map<number, Pending>();
  /** This round's members, in random order; refilled at its end. */
  #round: Member[] = [];
  #isSuspectsTurn = false;
  #sequence: number;
  #timer: Timer | undefined;
  #closed = false;

  constructor(options: ProberOptions) {
    this.#options = options;
    this.#sequence = randomInteger(options.random, SEQUENCE_SIZE);
  }

  start(): void {
    const { config, random } = this.#options;
    this.#schedule(random.next() * config.probeInterval);
  }

  #schedule(delay: number): void {
    if (!this.#closed) this.#timer = this.#options.clock.setTimeout(() => this.#tick(), delay);
  }

  #tick(): void {
    const member = this.#next();
    if (member) this.#probe(member);
    else this.#schedule(this.#options.config.probeInterval);
  }

  #next(): Member | undefined {
    const { membership, random } = this.#options;
    // Every other probe goes to a suspect: it hears of the suspicion, and can refute it before it is declared dead.
    this.#isSuspectsTurn = !this.#isSuspectsTurn;
    const suspects = this.#isSuspectsTurn ? membership.suspects() : [];
    if (suspects.length > 0) return suspects[randomInteger(random, suspects.length)];
    for (let refilled = false; ; ) {
      const member = this.#round.pop();
      if (member && member !== membership.self && isHere(member)) return member;
      if (member) continue;
      if (refilled) return undefined;
      membership.forgetGone();
      this.#round = [...membership.list];
      shuffle(random, this.#round);
      refilled = true;
    }
  }

  /** One probe; the next one starts an interval later, or when a late answer was waited for in vain. */
  #probe(target: Member): void {
    const { clock, config, awareness, membership } = this.#options;
    const start = clock.now();
    const interval = awareness.scale(config.probeInterval);
    const seqNo = this.#nextSequence();
    const timeout = config.probeTimeout * awareness.pace(config.slowestPace);
    let expectedNacks = 0;
    let nacks = 0;
    const finish = (acked: boolean): void => {
      if (!this.#pending.delete(seqNo)) return;
      clock.clearTimeout(this.#timer ?? {});
      // An answer that is late, or that only others got, says that this node or its network is slow.
      if (acked) awareness.apply(clock.now() - start > timeout ? 1 : -1);
      else {
        awareness.apply(expectedNacks > 0 ? Math.max(0, expectedNacks - nacks) : 1);
        const { incarnation, name } = target;
        membership.suspect({ incarnation, node: name, from: membership.self.name });
      }
      const pause = config.probeInterval * awareness.pace(config.slowestPace);
      this.#schedule(Math.max(0, start + pause - clock.now()));
    };
    this.#pending.set(seqNo, {
      ack: () => finish(true),
      nack: () => {
        nacks++;
      },
    });
    this.#options.send(target.address, this.#pingParts(seqNo, target));
    this.#timer = clock.setTimeout(() => {
      expectedNacks = this.#askOthers(seqNo, target);
      if (config.streamPing) this.#pingByStream(seqNo, target, start + interval - clock.now());
      this.#timer = clock.setTimeout(() => finish(false), start + interval - clock.now());
    }, timeout);
  }

  /** A suspected target is told so along with the ping, so that it can refute at once. */
  #pingParts(seqNo: number, target: Member): Part[] {
    const ping = toPart({ type: 'ping', body: this.#ping(seqNo, target.name) });
    if (target.state !== 'suspect') return [ping];
    const { self } = this.#options.membership;
    const body = { incarnation: target.incarnation, node: target.name, from: self.name };
    return [ping, toPart({ type: 'suspect', body })];
  }

  #ping(seqNo: number, node: string): Ping {
    const { self } = this.#options.membership;
    return { seqNo, node, sourceAddr: self.addr, sourcePort: self.address.port, sourceNode: self.name };
  }

  /** Asks others to ping the target; returns how many of them will say so if it does not answer. */
  #askOthers(seqNo: number, target: Member): number {
    const { membership, config, random } = this.#options;
    const helpers = sample(random, membership.list, config.indirectChecks, (member) => {
      return member.state === 'alive' && member !== membership.self && member !== target;
    });
    let expectedNacks = 0;
    for (const helper of helpers) {
      const nack = (helper.vsn[1] ?? 0) >= NACK_PROTOCOL;
      if (nack) expectedNacks++;
      const targetAddress = {
        target: membership.get(target.name)?.addr ?? new Uint8Array(0),
        port: target.address.port,
      };
      const body = { ...this.#ping(seqNo, target.name), ...targetAddress, nack };
      this.#options.send(helper.address, [toPart({ type: 'indirectPing', body })]);
    }
    return expectedNacks;
  }

  #pingByStream(seqNo: number, target: Member, timeout: number): void {
    this.#options.channel.ping(target.address, this.#ping(seqNo, target.name), timeout).then(
      (answer) => {
        if (answer.seqNo === seqNo) this.#pending.get(seqNo)?.ack();
      },
      // No answer by this way either: the probe's own time-out says what follows.
      () => {},
    );
  }

  /** Asks whether the node of this name is at an address, whatever is held of it. False after the probe time-out; never rejects. */
  async ask(name: string, address: Address): Promise<boolean> {
    const { clock, config, send } = this.#options;
    if (this.#pending.size >= MAX_PENDING) return false;
    const seqNo = this.#nextSequence();
    const answered = new AbortController();
    this.#pending.set(seqNo, { ack: () => answered.abort(), nack: () => {} });
    for (let tried = 0; tried < ASKING_TRIES && !answered.signal.aborted && !this.#closed; tried++) {
      send(address, [toPart({ type: 'ping', body: this.#ping(seqNo, name) })]);
      await sleep(clock, config.probeTimeout / ASKING_TRIES, answered.signal);
    }
    this.#pending.delete(seqNo);
    return answered.signal.aborted;
  }

  #nextSequence(): number {
    this.#sequence = (this.#sequence + 1) % SEQUENCE_SIZE;
    return this.#sequence;
  }

  /** Handles a message of the failure detector. */
  handle(from: Address, message: Message): void {
    switch (message.type) {
      case 'ping':
        this.#answerPing(from, message.body);
        return;
      case 'indirectPing':
        this.#pingForOther(from, message.body);
        return;
      case 'ackResp':
        this.#pending.get(message.body.seqNo)?.ack();
        return;
      case 'nackResp':
        this.#pending.get(message.body.seqNo)?.nack();
        return;
    }
  }

  #answerPing(from: Address, ping: Ping): void {
    const asker = replyAddress(ping.sourceAddr, ping.sourcePort, from);
    if (ping.node !== '' && ping.node !== this.#options.membership.self.name) {
      this.#options.askedForOther(ping.sourceNode, asker);
      return;
    }
    const ack = toPart({ type: 'ackResp', body: { seqNo: ping.seqNo, payload: new Uint8Array(0) } });
    this.#options.send(asker, [ack]);
  }

  #pingForOther(from: Address, request: IndirectPing): void {
    const { clock, config } = this.#options;
    if (this.#pending.size >= MAX_PENDING) return;
    const origin = replyAddress(request.sourceAddr, request.sourcePort, from);
    const seqNo = this.#nextSequence();
    const timer = clock.setTimeout(() => {
      this.#pending.delete(seqNo);
      if (!request.nack || this.#closed) return;
      this.#options.send(origin, [toPart({ type: 'nackResp', body: { seqNo: request.seqNo } })]);
    }, config.probeTimeout * NACK_SHARE);
    this.#pending.set(seqNo, {
      ack: () => {
        this.#pending.delete(seqNo);
        clock.clearTimeout(timer);
        const body = { seqNo: request.seqNo, payload: new Uint8Array(0) };
        this.#options.send(origin, [toPart({ type: 'ackResp', body })]);
      },
      nack: () => {},
    });
    const target = replyAddress(request.target, request.port, from);
    this.#options.send(target, [toPart({ type: 'ping', body: this.#ping(seqNo, request.node) })]);
  }

  close(): void {
    this.#closed = true;
    if (this.#timer) this.#options.clock.clearTimeout(this.#timer);
    this.#pending.clear();
  }
}
