/** What the engine is given, and how its routes look. */
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import type { Duplex, Readable } from 'node:stream';
import type { EventBus, Logger } from '../common/index.ts';
import type { ContainerRuntime } from '../container/types.ts';
import type { LocalContainers, PublishedPort } from '../local/types.ts';
import type { OverlayDriver } from '../overlay/types.ts';
import type { SwarmNode } from '../swarm/node/types.ts';

/** The product's own version, for /version and the Server header. */
export interface ProductVersion {
  /** `0.1.0` */
  readonly version: string;
  readonly gitCommit: string;
  /** RFC 3339. */
  readonly buildTime: string;
}

/** What the daemon knows of its host and settings, for /info. */
export interface HostFacts {
  /** Stable over restarts; names this engine. */
  readonly id: string;
  readonly hostname: string;
  readonly dataRoot: string;
  /** `key=value` */
  readonly labels: readonly string[];
  readonly debug: boolean;
  /** When the daemon started. */
  readonly started: Date;
}

/** What Skein shows of itself beyond Docker's API, under /skein/. */
export interface Diagnosis {
  /** The host's gossip: peers, networks, counters; undefined while the host is in no swarm. */
  gossip(): object | undefined;
}

export interface EngineOptions {
  /** Path of the unix socket: 0660, group `docker` where there is one. */
  readonly socketPath: string;
  /** Also listen on TCP, without authentication: for loopback and test networks. */
  readonly tcp?: { readonly host: string; readonly port: number };
  readonly runtime: ContainerRuntime;
  readonly networking: OverlayDriver;
  readonly local: LocalContainers;
  /** The ports of this host that lead to a task's container: those of mode `host`. */
  readonly taskPorts: (containerId: string) => readonly PublishedPort[];
  readonly swarm: SwarmNode;
  readonly events: EventBus;
  readonly logger: Logger;
  readonly version: ProductVersion;
  readonly host: HostFacts;
  readonly diagnosis: Diagnosis;
}

/** What every route works with. */
export type Engine = Omit<EngineOptions, 'socketPath' | 'tcp'>;

export interface EngineServer extends AsyncDisposable {
  readonly socketPath: string;
  /** Port of the TCP listener, undefined without one. */
  readonly port: number | undefined;
  /** Stops listening, ends streams, and returns within a bounded time. Idempotent. */
  close(): Promise<void>;
}

/** One request. */
export interface Call {
  readonly method: string;
  /** Path without the version prefix, still encoded. */
  readonly path: string;
  readonly parameters: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  /** Minor number of API 1.x. */
  readonly apiVersion: number;
  /** Aborts when the client hangs up or the server closes. */
  readonly signal: AbortSignal;
  /** The body as JSON. @throws SkeinError InvalidArgument in Go's words. */
  json(): Promise<unknown>;
  /** The body as it comes, for archives. */
  body(): Readable;
}

/** Writes a body of its own making. Must end soon after `signal` aborts. */
export type StreamWriter = (response: ServerResponse, signal: AbortSignal) => Promise<void>;

/** A connection taken over from HTTP, after `101 UPGRADED`. */
export type RawSession = (connection: Duplex, signal: AbortSignal) => Promise<void>;

export type Reply =
  | {
      readonly kind: 'json';
      readonly status: number;
      readonly value: unknown;
      readonly headers?: Record<string, string>;
    }
  | { readonly kind: 'text'; readonly status: number; readonly text: string; readonly headers?: Record<string, string> }
  | { readonly kind: 'empty'; readonly status: number; readonly headers?: Record<string, string> }
  | {
      readonly kind: 'stream';
      readonly contentType: string;
      readonly headers?: Record<string, string>;
      readonly write: StreamWriter;
    }
  /** Upgraded when the client asked for it, else `write` as an ordinary body without input. */
  | {
      readonly kind: 'hijack';
      readonly contentType: string;
      readonly session: RawSession;
      readonly write: StreamWriter;
    };

export type Handler = (call: Call) => Reply | Promise<Reply>;

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE' | 'HEAD';
  /** find-my-way's pattern, without the version prefix. */
  readonly path: string;
  readonly handler: Handler;
}
