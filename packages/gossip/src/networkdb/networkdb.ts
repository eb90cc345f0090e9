import { type Channel, type Member, Memberlist } from '../memberlist/index.ts';
import {
  type Clock,
  Counters,
  type Logger,
  type Random,
  silentLogger,
  systemClock,
  systemRandom,
  type Timer,
} from '../runtime/index.ts';
import { NetTransport, type Transport } from '../transport/index.ts';
import { type Address, formatAddress, Keyring } from '../wire/index.ts';
import { BulkSyncer } from './bulk-sync.ts';
import { protobufCodec } from './codec.ts';
import { type NetworkDBConfig, networkDBConfig } from './config.ts';
import type { Context } from './context.ts';
import { EntryWriter } from './entry-writer.ts';
import { Inbox } from './inbox.ts';
import { LamportClock } from './lamport.ts';
import { Newcomers } from './newcomers.ts';
import { NetworkDBError, type NetworkDBOptions, type NetworkDBStats, type PeerInfo } from './options.ts';
import { forgetEarly, newOwnNetwork, type OwnNetwork } from './own-network.ts';
import { type Peer, PeerTable } from './peers.ts';
import { Rejoiner } from './rejoin.ts';
import { TableGossip } from './table-gossip.ts';
import { type Entry, type Row, TableStore } from './tables.ts';
import { Watchers, type WatchHandler } from './watch.ts';

/** memberlist's port, which Docker does not let one change. */
export const GOSSIP_PORT = 7946;
const NODE_NAME_BYTES = 6;

/** What exists from `start` on. */
interface Running {
  readonly memberlist: Memberlist;
  readonly rejoiner: Rejoiner;
}

/**
 * Tables scoped to networks, spread by gossip among the nodes of each network (libnetwork's networkdb).
 * `start`, `bootstrap`, then `joinNetwork` and write. `leave` says good-bye; disposing ends without a word, as a crash would.
 */
export class NetworkDB implements AsyncDisposable {
  readonly nodeName: string;
  readonly #options: NetworkDBOptions;
  readonly #config: NetworkDBConfig;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #logger: Logger;
  readonly #keyring: Keyring;
  readonly #drops = new Counters();
  /** Networks that this node is or was on. BOUNDED by config.maxNetworks. */
  readonly #networks = new Map<string, OwnNetwork>();
  readonly #peers: PeerTable;
  readonly #store: TableStore;
  readonly #watchers: Watchers;
  readonly #bulk: BulkSyncer;
  readonly #gossip: TableGossip;
  readonly #context: Context;
  readonly #writer: EntryWriter;
  readonly #inbox: Inbox;
  readonly #newcomers: Newcomers;
  #running: Running | undefined;
  #reapTimer: Timer | undefined;
  #nextPeerReap = 0;
  #failures = 0;
  #isStarting = false;
  #closed = false;

  constructor(options: NetworkDBOptions = {}) {
    this.#options = options;
    this.#config = { ...networkDBConfig, ...options.config };
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.#logger = options.logger ?? silentLogger;
    this.#keyring = new Keyring(options.keys, options.primary);
    this.nodeName = options.nodeName ?? Buffer.from(this.#random.bytes(NODE_NAME_BYTES)).toString('hex');
    this.#watchers = new Watchers(this.#logger);
    this.#peers = new PeerTable({
      self: this.nodeName,
      now: () => this.#clock.now(),
      drops: this.#drops,
      maxAttachments: this.#config.maxAttachments,
      events: {
        reachability: (peer) => this.#reachabilityChanged(peer),
        gone: (peer) => this.#store.removeOwner(peer.name, 'left'),
        attached: (peer, networkId) => this.#newcomers.attached(peer, networkId),
        detached: (peer, id) => this.#store.removeOwner(peer.name, 'deleted', [id]),
      },
    });
    this.#store = new TableStore(
      this.#config.maxEntriesPerNetwork,
      (owner) => this.#peers.isReachable(owner),
      (change) => this.#watchers.emit(change),
    );
    this.#context = {
      self: this.nodeName,
      config: this.#config,
      clock: this.#clock,
      random: this.#random,
      logger: this.#logger,
      codec: options.codec ?? protobufCodec,
      drops: this.#drops,
      received: new Counters(),
      networkClock: new LamportClock(),
      tableClock: new LamportClock(),
      networks: this.#networks,
      peers: this.#peers,
      store: this.#store,
      attached: () => this.#attached(),
    };
    const common = { ...this.#context, networks: this.#context.attached };
    this.#bulk = new BulkSyncer({ ...common, send: (to, data) => this.#memberlist.sendUserStream(to, data) });
    this.#gossip = new TableGossip({
      ...common,
      networks: () => this.#networks.values(),
      packetSize: () => this.#running?.memberlist.userPacketSize ?? 0,
      sendPacket: (to, data) => this.#memberlist.sendUserMessage(to, data),
      sendStream: (peer, data) => this.#sendReliably(peer, data),
    });
    this.#writer = new EntryWriter(this.#context, this.#gossip);
    this.#inbox = new Inbox({
      context: this.#context,
      writer: this.#writer,
      bulk: this.#bulk,
      gossip: this.#gossip,
      cameEarly: (network, owner) => this.#newcomers.cameEarly(network, owner),
      pass: (name, data) => this.#memberlist.queueBroadcast(name, data),
    });
    this.#newcomers = new Newcomers({
      context: this.#context,
      bulk: this.#bulk,
      exchangeStates: (address) => this.#memberlist.join([address]),
      isThere: ({ name, address }) => this.#memberlist.answers(name, address),
      declareDead: ({ name }) => this.#memberlist.declareDead(name),
      announce: (network) => this.#broadcastNetworkEvent('join', network),
      replay: (events) => this.#inbox.replay(events),
    });
  }

  get #memberlist(): Memberlist {
    if (!this.#running) throw new NetworkDBError('not-running', 'the gossip has not been started');
    return this.#running.memberlist;
  }

  #sendReliably(peer: Peer, data: Uint8Array): void {
    this.#memberlist.sendUserStream(peer.address, data).catch((error: unknown) => {
      this.#logger.debug('message not delivered', { peer: peer.name, error });
    });
  }

  /** This node's address as the others know it. Throws before `start`. */
  get address(): Address {
    return this.#memberlist.self.address;
  }

  /** Binds and begins to listen. Rejects with the system's error if it cannot. */
  async start(): Promise<void> {
    if (this.#isStarting || this.#closed) return;
    this.#isStarting = true;
    const wire = await this.#openWire().catch((error: unknown) => {
      this.#isStarting = false;
      throw error;
    });
    const bound = ('channel' in wire ? wire.channel : wire.transport).address;
    if (this.#closed) {
      await ('channel' in wire ? wire.channel : wire.transport).close();
      return;
    }
    const memberlist = new Memberlist({
      ...wire,
      name: this.nodeName,
      advertise: { host: this.#options.advertiseAddress ?? bound.host, port: bound.port },
      clock: this.#clock,
      random: this.#random,
      logger: this.#logger,
      keyring: this.#keyring,
      config: this.#options.memberlist ?? {},
      delegate: {
        message: (data, from) => this.#inbox.receive(data, from),
        localState: (join) => this.#inbox.localState(join),
        mergeState: (state, quiet) => this.#inbox.mergeState(state, quiet),
      },
      events: {
        join: (member) => this.#peerJoined(member),
        leave: (member) => this.#peerLost(member),
        declaredDead: () => this.#newcomers.declaredDead(),
      },
    });
    const rejoiner = new Rejoiner({
      config: this.#config,
      clock: this.#clock,
      random: this.#random,
      logger: this.#logger,
      memberlist,
      port: bound.port,
      failed: () => this.#peers.failed(),
      isMember: (address) => this.#peers.isAliveAt(address),
      joined: () => this.#broadcastNodeEvent('join'),
      reconnected: (peer) => this.#reconnected(peer),
    });
    this.#running = { memberlist, rejoiner };
    memberlist.start();
    this.#bulk.start();
    this.#scheduleReap();
  }

  async #openWire(): Promise<{ channel: Channel } | { transport: Transport }> {
    const { channel, transport, bindAddress: host = '0.0.0.0', port = GOSSIP_PORT, sockets } = this.#options;
    if (channel) return { channel };
    if (transport) return { transport };
    return { transport: await NetTransport.open({ host, port, logger: this.#logger, ...(sockets && { sockets }) }) };
  }

  /**
   * Joins the cluster at these addresses (`host` or `host:port`; one's own is left out) and sees to it from now on that
   * one of them is a member. Resolves to how many answered; 0 means that they are tried again every minute.
   */
  async bootstrap(addresses: readonly string[]): Promise<number> {
    if (!this.#running) throw new NetworkDBError('not-running', 'the gossip has not been started');
    return this.#running.rejoiner.bootstrap(addresses);
  }

  #peerJoined(member: Member): void {
    if (member.name === this.nodeName) return;
    const other = this.#peers.memberJoined(member.name, member.address);
    const peer = this.#peers.get(member.name);
    if (!peer) return;
    this.#bulk.met(peer);
    if (other) void this.#newcomers.metAtOneAddress(peer, other);
    else this.#newcomers.met(peer);
  }

  #peerLost(member: Member): void {
    if (member.state === 'left') {
      this.#peers.left(member.name);
      return;
    }
    const successor = this.#peers.memberFailed(member.name);
    if (successor) this.#newcomers.returned(successor);
  }

  #reachabilityChanged(peer: Peer): void {
    this.#store.ownerChanged(peer.name);
    if (peer.state === 'failed') {
      this.#failures++;
      this.#running?.rejoiner.peerFailed();
      return;
    }
    void this.#bulk.request(peer, this.#bulk.common(peer));
    this.#newcomers.returned(peer);
  }

  #reconnected(peer: Peer): void {
    this.#broadcastNodeEvent('join');
    void this.#bulk.request(peer, this.#bulk.common(peer));
  }

  #broadcastNodeEvent(type: 'join' | 'leave', onDone?: () => void): void {
    const body = { type, lTime: this.#context.networkClock.increment(), nodeName: this.nodeName };
    this.#memberlist.queueBroadcast(
      `node ${this.nodeName}`,
      this.#context.codec.encode({ type: 'node', body }),
      onDone,
    );
  }

  #broadcastNetworkEvent(type: 'join' | 'leave', { id, lTime }: OwnNetwork): void {
    const body = { type, lTime, nodeName: this.nodeName, networkId: id };
    const name = `network ${id} ${this.nodeName}`;
    if (this.#running) this.#memberlist.queueBroadcast(name, this.#context.codec.encode({ type: 'network', body }));
  }

  *#attached(): Generator<OwnNetwork> {
    for (const network of this.#networks.values()) if (!network.leaving) yield network;
  }

  #attachedTo(networkId: string): OwnNetwork {
    const network = this.#networks.get(networkId);
    if (network && !network.leaving) return network;
    throw new NetworkDBError('not-attached', `this node is not on network ${networkId}`);
  }

  /**
   * Attaches this node to a network, at once. The promise only tells that the first exchange with the network's peers
   * is over, or has timed out; it never rejects for that. Does nothing for a network that is joined.
   */
  async joinNetwork(networkId: string): Promise<void> {
    const known = this.#networks.get(networkId);
    if (known && !known.leaving) return;
    if (!known && this.#networks.size >= this.#config.maxNetworks) {
      throw new NetworkDBError('full', `a node is on at most ${this.#config.maxNetworks} networks`);
    }
    const network = known ?? newOwnNetwork(networkId, this.#config.maxQueuedEvents, this.#clock.now());
    this.#networks.set(networkId, network);
    network.leaving = false;
    network.since = this.#clock.now();
    network.lTime = this.#context.networkClock.increment();
    this.#broadcastNetworkEvent('join', network);
    const peers = this.#peers.activeOn(networkId);
    const answers = await Promise.all(peers.map((peer) => this.#bulk.request(peer, [networkId])));
    network.hasSynced ||= answers.includes(true);
    network.inSync = true;
  }

  /**
   * Detaches this node: its own entries become tombstones, those of others are forgotten. The deletions are still told
   * afterwards, as a node that joins again at once is known as never having left.
   */
  leaveNetwork(networkId: string): void {
    const network = this.#networks.get(networkId);
    if (!network || network.leaving) return;
    for (const row of [...this.#store.rows(networkId)]) {
      if (row.owner !== this.nodeName || row.deleted) continue;
      this.#writer.write('delete', network, row.table, row.key, this.#writer.tombstone(row.value), 'detached');
    }
    this.#store.remove(networkId, 'detached', ({ owner }) => owner !== this.nodeName);
    Object.assign(network, { leaving: true, inSync: false, hasSynced: false, since: this.#clock.now() });
    network.lTime = this.#context.networkClock.increment();
    network.relayed.clear();
    network.early.clear();
    this.#broadcastNetworkEvent('leave', network);
  }

  /** Networks that this node is on. */
  networks(): string[] {
    return [...this.#attached()].map(({ id }) => id);
  }

  /** Names of the other living nodes on a network. */
  networkPeers(networkId: string): string[] {
    return this.#peers.activeOn(networkId).map(({ name }) => name);
  }

  /** Writes a new entry. Throws `NetworkDBError`: not-attached, exists, full. */
  createEntry(table: string, networkId: string, key: string, value: Uint8Array): void {
    const network = this.#attachedTo(networkId);
    const known = this.#store.get(networkId, table, key);
    if (known && this.#store.isVisible(known)) throw new NetworkDBError('exists', `${table} ${key} exists already`);
    if (!known && !this.#store.hasRoom(networkId)) throw new NetworkDBError('full', `network ${networkId} is full`);
    this.#writer.write('create', network, table, key, this.#writer.live(value));
  }

  /** Overwrites an entry, whose owner this node becomes. Throws `NetworkDBError`: not-attached, not-found. */
  updateEntry(table: string, networkId: string, key: string, value: Uint8Array): void {
    const { network } = this.#existing(table, networkId, key);
    this.#writer.write('update', network, table, key, this.#writer.live(value));
  }

  /** Deletes an entry. Throws `NetworkDBError`: not-attached, not-found. */
  deleteEntry(table: string, networkId: string, key: string): void {
    const { network, entry } = this.#existing(table, networkId, key);
    this.#writer.write('delete', network, table, key, this.#writer.tombstone(entry.value));
  }

  #existing(table: string, networkId: string, key: string): { network: OwnNetwork; entry: Entry } {
    const network = this.#attachedTo(networkId);
    const known = this.#store.get(networkId, table, key);
    if (!known || known.deleted) throw new NetworkDBError('not-found', `${table} ${key} does not exist`);
    return { network, entry: known };
  }

  /** An entry's value; undefined when there is none, or its owner is unreachable. */
  getEntry(table: string, networkId: string, key: string): Uint8Array | undefined {
    const entry = this.#store.get(networkId, table, key);
    return entry && this.#store.isVisible(entry) ? entry.value : undefined;
  }

  /** The entries of a table whose owners are reachable, one's own among them. */
  *entries(table: string, networkId: string): Generator<Pick<Row, 'key' | 'value' | 'owner'>> {
    for (const { key, value, owner } of this.#store.visible(networkId, table)) yield { key, value, owner };
  }

  /**
   * Tells `handler` of the entries that there are, at once and as `create`, then of every change; undefined stands for
   * any table or network. Returns how to stop it.
   */
  watch(table: string | undefined, networkId: string | undefined, handler: WatchHandler): () => void {
    for (const id of networkId === undefined ? this.#store.networks() : [networkId]) {
      for (const name of table === undefined ? this.#store.tables(id) : [table]) {
        for (const { key, value, owner } of [...this.#store.visible(id, name)]) {
          this.#watchers.call(handler, { type: 'create', table: name, networkId: id, key, value, owner });
        }
      }
    }
    return this.#watchers.add(table, networkId, handler);
  }

  #scheduleReap(): void {
    this.#reapTimer = this.#clock.setTimeout(() => {
      const now = this.#clock.now();
      this.#store.reap(now);
      if (now >= this.#nextPeerReap) {
        this.#nextPeerReap = now + this.#config.reapPeersInterval;
        this.#peers.reap(now - this.#config.reapNetwork, now - this.#config.reapNode);
      }
      for (const network of [...this.#networks.values()]) {
        const { id, leaving, since } = network;
        forgetEarly(network, now - this.#config.reapEntry);
        if (!leaving || since > now - this.#config.reapNetwork) continue;
        this.#store.remove(id, 'detached', () => true);
        this.#networks.delete(id);
      }
      this.#scheduleReap();
    }, this.#config.reapInterval);
  }

  /** Rotation: installs `keys`, encrypts with `primary`, forgets the others. Throws `RangeError` for a wrong length. */
  setKeys(keys: readonly Uint8Array[], primary: Uint8Array): void {
    this.#keyring.replace(keys, primary);
  }

  /** The other nodes, for diagnosis. */
  peers(): PeerInfo[] {
    return this.#peers.all().map(({ name, address, state, networks }) => {
      const isSuspect = state === 'alive' && this.#running?.memberlist.member(name)?.state === 'suspect';
      const on = [...networks].filter(([, { leaving }]) => !leaving).map(([id]) => id);
      return { name, address: formatAddress(address), state: isSuspect ? 'suspect' : state, networks: on };
    });
  }

  /** Hosts that nobody of the cluster hears from: their nodes failed, and no other node is there. */
  failedHosts(): string[] {
    return this.#peers.failedHosts();
  }

  /** Whether a host answers at the gossip's port, with a refusal if its daemon is away. Never rejects; takes 300 ms at most. */
  async hostAnswers(host: string): Promise<boolean> {
    if (!this.#running) return false;
    return this.#running.memberlist.hostAnswers({ host, port: this.address.port });
  }

  stats(): NetworkDBStats {
    const drops = { ...this.#drops.snapshot() };
    for (const [cause, count] of Object.entries(this.#running?.memberlist.drops.snapshot() ?? {})) {
      drops[cause] = (drops[cause] ?? 0) + count;
    }
    return {
      tableEventsReceived: this.#context.received.snapshot(),
      drops,
      localHealth: this.#running?.memberlist.localHealth ?? 0,
      members: this.#peers.aliveCount + 1,
      failures: this.#failures,
      entries: Object.fromEntries(this.networks().map((id) => [id, this.#store.size(id)])),
    };
  }

  /** Says good-bye, waits (up to 6 s) until that has spread, then closes. */
  async leave(): Promise<void> {
    const { memberlist, rejoiner } = this.#running ?? {};
    if (!memberlist || this.#closed) return this[Symbol.asyncDispose]();
    rejoiner?.close();
    if (memberlist.members().length > 1) {
      await new Promise<void>((resolve) => {
        const timer = this.#clock.setTimeout(resolve, this.#config.leaveBroadcastTimeout);
        this.#broadcastNodeEvent('leave', () => {
          this.#clock.clearTimeout(timer);
          resolve();
        });
      });
      await memberlist.leave(this.#config.leaveTimeout);
    }
    await this[Symbol.asyncDispose]();
  }

  /** Ends at once, without a word to the others. May be called again. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#reapTimer) this.#clock.clearTimeout(this.#reapTimer);
    this.#newcomers.close();
    this.#bulk.close();
    this.#gossip.close();
    this.#running?.rejoiner.close();
    this.#watchers.clear();
    await this.#running?.memberlist.close();
  }
}
