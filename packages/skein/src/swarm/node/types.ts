/** What a host is in a swarm: init, join, leave, and its state for `docker info`. */

import type { AttachmentRequest, Executor } from '../agent/types.ts';
import type { ClusterSpec } from '../gen/specs_pb.js';
import type { NodeDescription, NodeTLSInfo } from '../gen/types_pb.js';
import type { ClusterLogs, Control, HostWitness } from '../manager/types.ts';
import type { NodeAddresses } from './addresses.ts';

export type Availability = 'active' | 'pause' | 'drain';

export interface InitRequest {
  /** `0.0.0.0:2377`, or an interface's name. */
  readonly listenAddress: string;
  /** '' = found by the node. */
  readonly advertiseAddress: string;
  readonly dataPathAddress: string;
  /** 0 = 4789. */
  readonly dataPathPort: number;
  readonly forceNewCluster: boolean;
  readonly availability: Availability;
  readonly autoLockManagers: boolean;
  /** CIDRs; empty = 10.0.0.0/8. */
  readonly defaultAddressPool: readonly string[];
  /** 0 = 24. */
  readonly subnetSize: number;
  readonly spec: ClusterSpec | undefined;
}

export interface JoinRequest {
  readonly listenAddress: string;
  readonly advertiseAddress: string;
  readonly dataPathAddress: string;
  readonly remoteAddresses: readonly string[];
  readonly joinToken: string;
  readonly availability: Availability;
}

export type LocalNodeState = 'inactive' | 'pending' | 'active' | 'error' | 'locked';

export interface SwarmStatus {
  readonly nodeId: string;
  readonly nodeAddress: string;
  readonly localNodeState: LocalNodeState;
  readonly controlAvailable: boolean;
  readonly error: string;
  readonly remoteManagers: readonly { readonly nodeId: string; readonly address: string }[];
  readonly description: NodeDescription | undefined;
}

export interface SwarmNode extends AsyncDisposable {
  /** @returns the node ID. @throws SkeinError with Docker's words (protocols.md §7.2). */
  init(request: InitRequest): Promise<string>;
  join(request: JoinRequest): Promise<void>;
  leave(force: boolean): Promise<void>;
  status(): SwarmStatus;
  /** The cluster's control. @throws SkeinError Unavailable `This node is not a swarm manager. …` on others. */
  control(): Control;
  logs(): ClusterLogs;
  /**
   * Asks a manager for a plain container's place on an attachable network; the executor gets the attachment task.
   * @returns the task's ID. @throws RpcError NotFound, PermissionDenied; SkeinError Unavailable without a manager.
   */
  attachNetwork(request: AttachmentRequest): Promise<string>;
  /** Gives the place back; no error when it is gone. */
  detachNetwork(attachmentId: string): Promise<void>;
}

/** The host's executor while it is in a swarm. Disposing it leaves containers and traffic as they are. */
export interface HostExecutor extends AsyncDisposable {
  readonly executor: Executor;
  /** What the host's gossip knows of the other hosts. */
  readonly witness: HostWitness;
  /** The host leaves the swarm: gossip, and what the cluster's networks made here. */
  leave(): Promise<void>;
}

/** Makes the executor when the node has joined and knows its addresses. */
export type HostExecutorFactory = (host: {
  readonly nodeId: string;
  readonly addresses: NodeAddresses;
  readonly tlsInfo: () => NodeTLSInfo | undefined;
}) => HostExecutor;
