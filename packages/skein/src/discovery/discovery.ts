/** Names for this host's containers: a DNS server in each namespace, one table of names, records in gossip. */
import { type NetworkDB, NetworkDBError, type TableChange } from '@skein/gossip';
import { NetworkNamespace } from '@skein/netlink';
import { errorText, KeyedQueue, type Logger, SkeinError } from '../common/index.ts';
import { TableKeeper } from '../nftables/index.ts';
import { answerQuestion } from './answer.ts';
import { resolverAddress } from './files.ts';
import { Forwarder, type ForwardResult, type Transport, type Upstream } from './forwarder.ts';
import type { EndpointRecord } from './gen/agent_pb.js';
import { type Query, responseCode } from './message.ts';
import { NameTable } from './names.ts';
import { decodeRecord, encodeRecord, endpointTable, recordOf } from './records.ts';
import { DnsServer, type Handler, type Outcome } from './server.ts';
import type { Discovery, PublishedEndpoint, Resolver } from './types.ts';

export interface DiscoveryOptions {
  readonly logger: Logger;
  /** Where the host's servers are asked from; by default the process's own namespace. */
  readonly hostNamespace?: NetworkNamespace;
  /** How long one server may take to answer; 4 s by default. */
  readonly forwardTimeoutMs?: number;
  /** How often the nft tables are looked at; milliseconds. */
  readonly auditIntervalMs?: number;
}

const domainPort = 53;

/** @returns the name service of this host; it answers nobody before `attach`. */
export function createDiscovery(options: DiscoveryOptions): Discovery {
  return new NameService(options);
}

/** A container that is served. */
interface Attachment {
  resolver: Resolver;
  readonly namespace: NetworkNamespace;
  readonly server: DnsServer;
  /** Its own, so that a container that asks for much leaves the others theirs. */
  readonly forwarder: Forwarder;
}

class NameService implements Discovery {
  readonly #logger: Logger;
  readonly #host: NetworkNamespace;
  readonly #ownsHost: boolean;
  readonly #forwardTimeoutMs: number | undefined;
  readonly #tables: TableKeeper;
  readonly #names = new NameTable();
  /** By container ID. BOUNDED by the containers of this host. */
  readonly #attachments = new Map<string, Attachment>();
  /** Attach and detach of a container follow each other. */
  readonly #pending = new KeyedQueue();
  /** This host's endpoints by ID. BOUNDED by its containers. */
  readonly #own = new Map<string, { endpoint: PublishedEndpoint; isDisabled: boolean }>();
  /** Endpoint ID → network ID of the others' records. BOUNDED by what gossip holds. */
  readonly #foreign = new Map<string, string>();
  #gossip: { db: NetworkDB; unwatch: () => void } | undefined;

  constructor({ logger, hostNamespace, forwardTimeoutMs, auditIntervalMs }: DiscoveryOptions) {
    this.#logger = logger;
    this.#ownsHost = hostNamespace === undefined;
    this.#host = hostNamespace ?? NetworkNamespace.current();
    this.#forwardTimeoutMs = forwardTimeoutMs;
    this.#tables = new TableKeeper(logger, auditIntervalMs);
  }

  joinCluster(gossip: NetworkDB): void {
    if (this.#gossip?.db === gossip) return;
    this.#forgetOthers();
    this.#gossip = { db: gossip, unwatch: () => undefined };
    this.#gossip.unwatch = gossip.watch(endpointTable, undefined, (change) => this.#take(change, gossip.nodeName));
    for (const { endpoint, isDisabled } of this.#own.values()) {
      try {
        this.#write(endpoint, recordOf(endpoint, isDisabled));
      } catch (error) {
        this.#logger.error({ endpoint: endpoint.name, error: errorText(error) }, 'cannot publish an endpoint');
      }
    }
  }

  leaveCluster(): void {
    for (const { endpoint } of this.#own.values()) this.#erase(endpoint);
    this.#forgetOthers();
    this.#gossip = undefined;
  }

  attach(resolver: Resolver): Promise<void> {
    return this.#pending.run(resolver.containerId, async () => {
      const current = this.#attachments.get(resolver.containerId);
      const namespace = NetworkNamespace.open(resolver.networkNamespace);
      if (current?.namespace.equals(namespace)) {
        namespace[Symbol.dispose]();
        current.resolver = resolver;
        current.server.ensureRedirect();
        return;
      }
      this.#close(resolver.containerId);
      try {
        const handler: Handler = (query, message, transport, signal) =>
          this.#handle(resolver.containerId, query, message, transport, signal);
        const server = await DnsServer.listen(namespace, handler, this.#logger);
        const forwarder = new Forwarder(this.#forwardTimeoutMs);
        this.#attachments.set(resolver.containerId, { resolver, namespace, server, forwarder });
        this.#tables.keep(server, `skein-dns of container ${resolver.containerId}`);
      } catch (error) {
        namespace[Symbol.dispose]();
        const message = `cannot serve names to container ${resolver.containerId}: ${errorText(error)}`;
        throw new SkeinError('Internal', message, { cause: error });
      }
    });
  }

  detach(containerId: string): Promise<void> {
    return this.#pending.run(containerId, async () => {
      const attachment = this.#attachments.get(containerId);
      try {
        attachment?.server.removeRedirect();
      } finally {
        this.#close(containerId);
      }
    });
  }

  publish(endpoint: PublishedEndpoint): void {
    this.#put(endpoint, false);
  }

  disable(endpointId: string): void {
    const own = this.#own.get(endpointId);
    if (own !== undefined && !own.isDisabled) this.#put(own.endpoint, true);
  }

  withdraw(endpointId: string): void {
    const own = this.#own.get(endpointId);
    if (own === undefined) return;
    this.#own.delete(endpointId);
    this.#names.delete(own.endpoint.networkId, endpointId);
    this.#erase(own.endpoint);
  }

  /** Stops answering and listening. Records stay published: the containers run on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#tables[Symbol.dispose]();
    await this.#pending.settled();
    for (const containerId of [...this.#attachments.keys()]) this.#close(containerId);
    this.#forgetOthers();
    this.#gossip = undefined;
    if (this.#ownsHost) this.#host[Symbol.dispose]();
  }

  #put(endpoint: PublishedEndpoint, isDisabled: boolean): void {
    const record = recordOf(endpoint, isDisabled);
    const before = this.#own.get(endpoint.id);
    if (before !== undefined && before.endpoint.networkId !== endpoint.networkId) this.withdraw(endpoint.id);
    this.#own.set(endpoint.id, { endpoint, isDisabled });
    this.#names.set(endpoint.networkId, endpoint.id, record);
    this.#write(endpoint, record);
  }

  /** Puts the record into gossip, unless it is there already. */
  #write({ id, networkId, local }: PublishedEndpoint, record: EndpointRecord): void {
    const db = this.#gossip?.db;
    if (db === undefined || local === true) return;
    const value = encodeRecord(record);
    try {
      const present = db.getEntry(endpointTable, networkId, id);
      if (present === undefined) db.createEntry(endpointTable, networkId, id, value);
      else if (!Buffer.from(value).equals(present)) db.updateEntry(endpointTable, networkId, id, value);
    } catch (cause) {
      const message = `cannot publish ${record.name} on network ${networkId}: ${errorText(cause)}`;
      throw new SkeinError('FailedPrecondition', message, { cause });
    }
  }

  #erase({ id, networkId, local }: PublishedEndpoint): void {
    if (local === true) return;
    try {
      this.#gossip?.db.deleteEntry(endpointTable, networkId, id);
    } catch (error) {
      // The network was left first, and took the record along.
      const isGone = error instanceof NetworkDBError && (error.code === 'not-found' || error.code === 'not-attached');
      if (!isGone) throw error;
    }
  }

  #take({ type, networkId, key, value, owner }: TableChange, self: string): void {
    if (owner === self || this.#own.has(key)) return;
    const record = type === 'delete' ? undefined : decodeRecord(value);
    if (record === undefined) {
      this.#names.delete(networkId, key);
      this.#foreign.delete(key);
    } else {
      this.#names.set(networkId, key, record);
      this.#foreign.set(key, networkId);
    }
  }

  #forgetOthers(): void {
    this.#gossip?.unwatch();
    for (const [endpointId, networkId] of this.#foreign) this.#names.delete(networkId, endpointId);
    this.#foreign.clear();
  }

  #handle(
    containerId: string,
    query: Query,
    message: Uint8Array,
    transport: Transport,
    signal: AbortSignal,
  ): Outcome | Promise<Outcome> {
    const attachment = this.#attachments.get(containerId);
    const networks = attachment?.resolver.networks ?? [];
    const reply = answerQuestion(query.question, this.#names, networks);
    if (reply !== undefined) return { type: 'reply', reply };
    if ((attachment?.resolver.ndots ?? 0) > 0 && !query.question.name.includes('.')) {
      return ownReply(responseCode.noError);
    }
    if (attachment === undefined) return ownReply(responseCode.serverFailure);
    const upstreams = this.#upstreams(attachment);
    return attachment.forwarder.forward(query, message, upstreams, transport, signal).then(outcomeOf);
  }

  #upstreams({ resolver, namespace }: Attachment): Upstream[] {
    return resolver.upstream.flatMap(({ address, port = domainPort, fromContainer }) => {
      // The server would ask itself, again and again.
      if (fromContainer && address === resolverAddress && port === domainPort) return [];
      if (fromContainer) return { address, port, namespace };
      return resolver.internalOnly ? [] : { address, port, namespace: this.#host };
    });
  }

  #close(containerId: string): void {
    const attachment = this.#attachments.get(containerId);
    if (attachment === undefined) return;
    this.#attachments.delete(containerId);
    this.#tables.release(attachment.server);
    attachment.server[Symbol.dispose]();
    attachment.namespace[Symbol.dispose]();
  }
}

function outcomeOf(result: ForwardResult): Outcome {
  if (result.type === 'answer') return { type: 'forwarded', message: result.message };
  return ownReply(result.type === 'busy' ? responseCode.refused : responseCode.serverFailure);
}

/** An answer that says nothing but its code, and that without authority. */
function ownReply(code: number): Outcome {
  return { type: 'reply', reply: { code, authoritative: false, answers: [], timeToLive: 0 } };
}
