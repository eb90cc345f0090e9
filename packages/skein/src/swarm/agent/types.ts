/**
 * What the agent needs from whoever runs tasks. The agent owns the session with the manager, the assignments and
 * the task state machine; the executor owns containers and networks.
 */
import type { Config, Node, Secret, Task } from '../gen/objects_pb.js';
import type { EncryptionKey, NodeDescription, PortStatus, WeightedPeer } from '../gen/types_pb.js';

/** Thrown by a controller for a failure that no retry mends: the task becomes REJECTED or FAILED. Other errors are fatal too unless they are a TemporaryError. */
export class TemporaryError extends Error {
  override readonly name = 'TemporaryError';
}

/** Secrets and configs that the manager assigned, by ID. */
export interface Dependencies {
  secret(id: string): Secret | undefined;
  config(id: string): Config | undefined;
}

/** What a plain container asks of a manager: a place on an attachable network. */
export interface AttachmentRequest {
  /** Name or ID of the network. */
  readonly target: string;
  readonly containerId: string;
  /** Plain addresses that it wants; empty: any. */
  readonly addresses: readonly string[];
  readonly aliases: readonly string[];
}

export interface ContainerFacts {
  readonly containerId: string;
  readonly pid: number;
  readonly exitCode: number;
}

export interface TaskLogOptions {
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly follow: boolean;
  /** Number of last lines; undefined = all. */
  readonly tail?: number;
  /** Nanoseconds since the epoch. */
  readonly since?: bigint;
  readonly signal: AbortSignal;
}

export interface TaskLogEntry {
  readonly stream: 'stdout' | 'stderr';
  readonly timestamp: string;
  readonly line: Uint8Array;
}

/** One task on this host. Every method is idempotent and can be repeated after a crash of the daemon at any point. */
export interface TaskController {
  /** The spec changed in ways that need no new container. */
  update(task: Task): void;
  /** Image, sandbox, container: up to "created". Already prepared = no error. */
  prepare(signal: AbortSignal): Promise<void>;
  /** Resolves when it runs (and is healthy, if it has a health check). Already started = no error. */
  start(signal: AbortSignal): Promise<void>;
  /** Resolves when the process exits with 0. @throws Error `task: non-zero exit (N)` otherwise. */
  wait(signal: AbortSignal): Promise<void>;
  /** Graceful stop: no new traffic, signal, grace period. No container = no error. */
  shutdown(signal: AbortSignal): Promise<void>;
  /** Removes everything of the task from this host. No container = no error. */
  remove(signal: AbortSignal): Promise<void>;
  /** What to report with the status; undefined before the container exists. */
  containerFacts(): Promise<ContainerFacts | undefined>;
  portStatus(): Promise<PortStatus | undefined>;
  logs(options: TaskLogOptions): AsyncIterable<TaskLogEntry>;
}

export interface Executor {
  /** Stable while nothing changes: a difference rebuilds the session. */
  describe(): Promise<NodeDescription>;
  /** A new Node object in the Session message: attachments, VXLAN port. */
  configure(node: Node): Promise<void>;
  /** The managers' list in the Session message (gossip bootstrap). */
  setManagers(managers: readonly WeightedPeer[]): Promise<void>;
  /** New key set, 3 + 3 keys. */
  setNetworkKeys(keys: readonly EncryptionKey[]): Promise<void>;
  controller(task: Task, dependencies: Dependencies): TaskController;
}
