/**
 * rtnetlink notifications: what changed in a namespace, as it changes.
 *
 * The kernel does not wait for listeners. When one is too slow the kernel drops notifications and says so: an
 * 'overrun' event then tells the listener to read the tables again (subscribe first, then dump, to miss nothing).
 */
import { closeSync } from 'node:fs';
import { AF_BRIDGE, AF_NETLINK, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW } from '../kernel/constants.ts';
import { bind, setReceiveBuffer, socket } from '../kernel/libc.ts';
import { netlinkAddress } from '../kernel/sockaddr.ts';
import type { NetworkNamespace } from '../namespace.ts';
import { DatagramReader } from '../readable.ts';
import { decodeMessages, type Message } from '../wire/message.ts';
import { type Address, decodeAddress, RTM_DELADDR, RTM_NEWADDR } from './addresses.ts';
import { NETLINK_ROUTE } from './connection.ts';
import { type FdbEntry, toFdbEntry } from './fdb.ts';
import { decodeLink, RTM_DELLINK, RTM_NEWLINK } from './link-codec.ts';
import type { Link } from './link-spec.ts';
import { decodeNeighbourMessage, RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH } from './neighbour-codec.ts';
import { type Neighbour, toNeighbour } from './neighbours.ts';
import { decodeRoute, type Route, RTM_DELROUTE, RTM_NEWROUTE } from './route-codec.ts';
import { decodeRule, RTM_DELRULE, RTM_NEWRULE, type Rule } from './rules.ts';

/** Multicast groups: RTMGRP_* of linux/rtnetlink.h as bits. */
const groups = {
  link: 0x1,
  neighbour: 0x4,
  address: 0x10 | 0x100,
  route: 0x40 | 0x400,
  // RTMGRP_IPV4_RULE and, as 1 << (RTNLGRP_IPV6_RULE - 1), its IPv6 sister
  rule: 0x80 | (1 << 18),
} as const;
/** What to be told of; 'neighbour' includes the forwarding databases. */
export type MonitorGroup = keyof typeof groups;

/**
 * One change. For 'set' the object is new or has changed; for 'deleted' it is gone. 'miss' is the kernel's question
 * for a neighbour or FDB entry that it lacks (VXLAN's l2miss and l3miss). After 'overrun' events are missing.
 */
export type RouteEvent =
  | { readonly type: 'link'; readonly action: 'set' | 'deleted'; readonly link: Link }
  | { readonly type: 'address'; readonly action: 'set' | 'deleted'; readonly address: Address }
  | { readonly type: 'route'; readonly action: 'set' | 'deleted'; readonly route: Route }
  | { readonly type: 'rule'; readonly action: 'set' | 'deleted'; readonly rule: Rule }
  | { readonly type: 'neighbour'; readonly action: 'set' | 'deleted' | 'miss'; readonly neighbour: Neighbour }
  | { readonly type: 'fdb'; readonly action: 'set' | 'deleted' | 'miss'; readonly entry: FdbEntry }
  | { readonly type: 'overrun' };

/** Notifications that the kernel may keep for us: enough for some thousand. */
const RECEIVE_BUFFER_BYTES = 1024 * 1024;
/** Events kept for a consumer that is busy. BOUNDED: the next one is dropped, and an 'overrun' takes its place. */
const MAX_PENDING_EVENTS = 10_000;

/** Notifications of one namespace as an async iterable: `for await (const event of monitor)`. One consumer. */
export class RouteMonitor implements AsyncIterable<RouteEvent>, Disposable {
  readonly #reader: DatagramReader;
  readonly #pending: RouteEvent[] = [];
  #wake: (() => void) | undefined;
  #failure: Error | undefined;
  #open = true;

  private constructor(fd: number) {
    this.#reader = DatagramReader.open(fd, {
      message: (datagram) => this.#accept(datagram),
      overrun: () => this.#push({ type: 'overrun' }),
      failed: (error) => this.#fail(error),
    });
  }

  /**
   * Starts listening, before it returns: a table dumped afterwards plus the events is complete.
   * While it is open it keeps the process alive, unless `unref` is called.
   */
  static open(namespace?: NetworkNamespace, listenTo: readonly MonitorGroup[] = ['link']): RouteMonitor {
    const mask = listenTo.reduce((bits, group) => bits | groups[group], 0);
    const create = () => socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
    const fd = namespace ? namespace.run(create) : create();
    try {
      setReceiveBuffer(fd, RECEIVE_BUFFER_BYTES);
      bind(fd, netlinkAddress(mask), `listen to ${listenTo.join(', ')}`);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    return new RouteMonitor(fd);
  }

  #accept(datagram: Uint8Array): void {
    try {
      for (const message of decodeMessages(datagram)) {
        const event = toEvent(message);
        if (event) this.#push(event);
      }
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error('undecodable notification', { cause: error }));
    }
  }

  #push(event: RouteEvent): void {
    if (!this.#open) return;
    const last = this.#pending.at(-1);
    if (event.type === 'overrun' && last?.type === 'overrun') return;
    if (this.#pending.length < MAX_PENDING_EVENTS) this.#pending.push(event);
    else if (last?.type !== 'overrun') this.#pending.push({ type: 'overrun' });
    this.#wake?.();
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this[Symbol.dispose]();
  }

  /** Ends with the monitor's disposal; throws when the socket fails. Leaving the loop disposes the monitor. */
  async *[Symbol.asyncIterator](): AsyncGenerator<RouteEvent, void, undefined> {
    try {
      for (;;) {
        const event = this.#pending.shift();
        if (event) yield event;
        else if (this.#open) await new Promise<void>((resolve) => (this.#wake = resolve));
        else if (this.#failure) throw this.#failure;
        else return;
      }
    } finally {
      this[Symbol.dispose]();
    }
  }

  /** Lets the process exit although the monitor is open. */
  unref(): this {
    this.#reader.unref();
    return this;
  }

  /** Stops listening; events already received are still delivered. Safe to repeat. */
  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    this.#reader.close();
    this.#wake?.();
  }
}

function toEvent({ type, payload }: Message): RouteEvent | undefined {
  switch (type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      // A bridge reports its ports' state in messages of its own family: not the links themselves.
      if (payload[0] === AF_BRIDGE) return undefined;
      return { type: 'link', action: type === RTM_NEWLINK ? 'set' : 'deleted', link: decodeLink(payload) };
    case RTM_NEWADDR:
    case RTM_DELADDR:
      return { type: 'address', action: type === RTM_NEWADDR ? 'set' : 'deleted', address: decodeAddress(payload) };
    case RTM_NEWROUTE:
    case RTM_DELROUTE: {
      const route = decodeRoute(payload);
      return route && { type: 'route', action: type === RTM_NEWROUTE ? 'set' : 'deleted', route };
    }
    case RTM_NEWRULE:
    case RTM_DELRULE:
      return { type: 'rule', action: type === RTM_NEWRULE ? 'set' : 'deleted', rule: decodeRule(payload) };
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
    case RTM_GETNEIGH:
      return toNeighbourEvent(type, payload);
    default:
      return undefined;
  }
}

const neighbourActions = { [RTM_NEWNEIGH]: 'set', [RTM_DELNEIGH]: 'deleted', [RTM_GETNEIGH]: 'miss' } as const;

function toNeighbourEvent(type: keyof typeof neighbourActions, payload: Uint8Array): RouteEvent {
  const action = neighbourActions[type];
  const message = decodeNeighbourMessage(payload);
  // A missing MAC is asked for in a message without an address, of whatever family the device's default remote has.
  const isFdb = message.header.family === AF_BRIDGE || message.values.destination === undefined;
  if (isFdb) return { type: 'fdb', action, entry: toFdbEntry(message) };
  return { type: 'neighbour', action, neighbour: toNeighbour(message) };
}
