import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorText, newObjectId, SkeinError, systemClock } from '../../common/index.ts';
import type { AttachmentRequest } from '../agent/types.ts';
import { NodeSpec_Availability } from '../gen/specs_pb.js';
import { createRootCa, defaultNodeCertificateSeconds, managerRole, NodeIdentity } from '../identity/index.ts';
import type { NewClusterOptions } from '../manager/index.ts';
import type { ClusterLogs, Control } from '../manager/types.ts';
import { addressTowards, listensEverywhere, localAddress, managerAddress, resolveAddresses } from './addresses.ts';
import {
  alreadyInSwarm,
  joinTimedOut,
  lastManagerLeaves,
  managerNotReady,
  managerUnreachable,
  noManagerAnswers,
  notInSwarm,
  notManagerNoSwarm,
  notManagerWorker,
  secondManager,
} from './errors.ts';
import { Membership, type MembershipContext } from './membership.ts';
import { type MembershipState, readMembership, removeMembership, writeMembership } from './state.ts';
import type { Availability, InitRequest, JoinRequest, SwarmNode, SwarmStatus } from './types.ts';

/** How long init and join wait for the node's first session (moby daemon/cluster: swarmConnectTimeout). */
const sessionTimeoutMs = 20_000;
const sessionPollMs = 50;
/** A node that cannot start is tried again, from 1 s doubling up to 30 s (moby daemon/cluster: reconnect delays). */
const restartBackoffMs = { base: 1000, cap: 30_000 } as const;
/** libnetwork: the range that a cluster's VXLAN port may come from. */
const dataPathPorts = { first: 1024, last: 49151 } as const;

export type SwarmNodeOptions = MembershipContext;

/** Opens the node, and starts what it was before: a member whose daemon was away goes on in the background. */
export async function openSwarmNode(options: SwarmNodeOptions): Promise<SwarmNode> {
  const node = new Node(options);
  await node.resume();
  return node;
}

class Node implements SwarmNode {
  readonly #context: SwarmNodeOptions;
  readonly #closing = new AbortController();
  #membership: Membership | undefined;
  /** What the node is a member as, also while it is not running. */
  #state: MembershipState | undefined;
  #error = '';
  /** One change of the membership at a time. */
  #changing: Promise<unknown> = Promise.resolve();
  #restarting: Promise<void> | undefined;

  constructor(context: SwarmNodeOptions) {
    this.#context = context;
  }

  async resume(): Promise<void> {
    this.#state = readMembership(this.#context.stateDirectory);
    if (!this.#state) {
      // What a crash in the middle of init, join or leave left.
      await removeMembership(this.#context.stateDirectory);
      return;
    }
    try {
      await this.#start(this.#state);
    } catch (error) {
      this.#failed(error);
      this.#restarting = this.#keepStarting(this.#state);
    }
  }

  init(request: InitRequest): Promise<string> {
    return this.#exclusively(async () => {
      if (this.#state) throw alreadyInSwarm();
      const addresses = resolveAddresses(request);
      checkDataPathPort(request.dataPathPort);
      const state: MembershipState = { role: 'manager', addresses, managers: [] };
      return this.#becomeMember(state, async () => this.#newCluster(request));
    });
  }

  join(request: JoinRequest): Promise<void> {
    return this.#exclusively(async () => {
      if (this.#state) throw alreadyInSwarm();
      if (request.remoteAddresses.length === 0)
        throw new SkeinError('InvalidArgument', 'at least 1 RemoteAddr is required to join');
      const managers = request.remoteAddresses.map(managerAddress);
      const addresses = resolveAddresses({ ...request, advertiseAddress: await advertisedTo(managers, request) });
      await this.#becomeMember({ role: 'worker', addresses, managers }, async () => {
        const identity = await this.#enrol(request, managers);
        if (identity.credentials.role === managerRole) throw secondManager();
        return { identity };
      });
    });
  }

  leave(force: boolean): Promise<void> {
    return this.#exclusively(async () => {
      if (!this.#state) throw notInSwarm();
      if (this.#state.role === 'manager' && !force) throw lastManagerLeaves();
      await this.#forget();
    });
  }

  async #forget(): Promise<void> {
    const membership = this.#membership;
    this.#membership = undefined;
    this.#state = undefined;
    this.#error = '';
    if (membership) await membership.leave();
    else await removeMembership(this.#context.stateDirectory);
  }

  status(): SwarmStatus {
    const membership = this.#membership;
    const agent = membership?.agent.status();
    return {
      nodeId: membership?.identity.nodeId ?? '',
      nodeAddress: this.#state?.addresses.advertise.host ?? '',
      localNodeState: this.#localState(agent?.connected ?? false),
      controlAvailable: membership?.manager !== undefined,
      error: this.#error || agent?.lastError || '',
      remoteManagers: agent?.managers.map(({ nodeId, address }) => ({ nodeId, address })) ?? [],
      description: agent?.node?.description,
    };
  }

  control(): Control {
    return this.#manager().control;
  }

  logs(): ClusterLogs {
    return this.#manager().logs;
  }

  async attachNetwork(request: AttachmentRequest): Promise<string> {
    return this.#member().agent.attachNetwork(request);
  }

  async detachNetwork(attachmentId: string): Promise<void> {
    await this.#member().agent.detachNetwork(attachmentId);
  }

  #member(): Membership {
    if (this.#membership) return this.#membership;
    throw this.#state
      ? new SkeinError('Unavailable', this.#error || 'the swarm node is starting')
      : new SkeinError('NotFound', 'this node is not in a swarm');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new SkeinError('Canceled', 'the daemon ends'));
    await this.#restarting;
    await this.#changing.catch(() => undefined);
    await this.#membership?.[Symbol.asyncDispose]();
  }

  #manager() {
    if (!this.#state) throw notManagerNoSwarm();
    if (this.#state.role === 'worker') throw notManagerWorker();
    if (!this.#membership?.manager) throw managerNotReady();
    return this.#membership.manager;
  }

  #localState(connected: boolean): SwarmStatus['localNodeState'] {
    if (!this.#state) return 'inactive';
    if (!this.#membership) return this.#error ? 'error' : 'pending';
    // A member that lost its manager for a while is still one, as with dockerd.
    return connected || this.#membership.agent.status().node ? 'active' : 'pending';
  }

  /**
   * Makes the identity, starts, waits for the first session; on failure before that leaves nothing. A node that has
   * joined goes on trying; a new cluster whose manager has no session with itself is given up.
   */
  async #becomeMember(
    state: MembershipState,
    prepare: () => Promise<{ identity: NodeIdentity; newCluster?: NewClusterOptions }>,
  ): Promise<string> {
    await removeMembership(this.#context.stateDirectory);
    let membership: Membership;
    try {
      const { identity, newCluster } = await prepare();
      await using started = new AsyncDisposableStack();
      membership = started.use(await Membership.start(this.#context, state, identity, newCluster));
      await writeMembership(this.#context.stateDirectory, state);
      started.move();
    } catch (error) {
      await removeMembership(this.#context.stateDirectory);
      throw error;
    }
    this.#membership = membership;
    this.#state = state;
    if (await this.#hasSession(membership)) return membership.identity.nodeId;
    if (state.role === 'worker') throw joinTimedOut();
    const { lastError } = membership.agent.status();
    await this.#forget();
    throw managerUnreachable(localAddress(state.addresses.listen), lastError);
  }

  /** @returns whether the node's first session came in time. */
  async #hasSession(membership: Membership): Promise<boolean> {
    const deadline = Date.now() + sessionTimeoutMs;
    while (!membership.agent.status().connected) {
      if (Date.now() > deadline) return false;
      await sleep(sessionPollMs, undefined, { signal: this.#closing.signal });
    }
    return true;
  }

  /** Gets a certificate. @throws SkeinError Unavailable naming the managers when none answers in time. */
  async #enrol(request: JoinRequest, managers: readonly string[]): Promise<NodeIdentity> {
    const timeout = AbortSignal.timeout(sessionTimeoutMs);
    try {
      return await NodeIdentity.join(this.#identityContext(), {
        addresses: managers,
        token: request.joinToken,
        availability: availabilityOf(request.availability),
        signal: AbortSignal.any([this.#closing.signal, timeout]),
      });
    } catch (error) {
      if (timeout.aborted) throw noManagerAnswers(managers, sessionTimeoutMs, error);
      throw error;
    }
  }

  async #newCluster(request: InitRequest): Promise<{ identity: NodeIdentity; newCluster: NewClusterOptions }> {
    const authority = await createRootCa(Date.now());
    const clusterId = newObjectId();
    const subject = { nodeId: newObjectId(), organization: clusterId, role: managerRole } as const;
    const seconds = request.spec?.caConfig?.nodeCertExpiry
      ? Number(request.spec.caConfig.nodeCertExpiry.seconds)
      : defaultNodeCertificateSeconds;
    const identity = await NodeIdentity.issue(this.#identityContext(), authority, subject, seconds);
    return {
      identity,
      newCluster: {
        clusterId,
        authority,
        availability: availabilityOf(request.availability),
        defaultAddressPool: request.defaultAddressPool,
        subnetSize: request.subnetSize,
        dataPathPort: request.dataPathPort,
        spec: request.spec,
      },
    };
  }

  async #start(state: MembershipState): Promise<void> {
    const identity = await NodeIdentity.load(this.#identityContext());
    if (!identity)
      throw new Error(
        `the node's certificates are missing in ${this.#context.stateDirectory}: leave the swarm with --force and join again`,
      );
    this.#membership = await Membership.start(this.#context, state, identity);
    this.#error = '';
  }

  async #keepStarting(state: MembershipState): Promise<void> {
    for (
      let pause: number = restartBackoffMs.base;
      this.#state === state && !this.#closing.signal.aborted;
      pause = Math.min(2 * pause, restartBackoffMs.cap)
    ) {
      try {
        await sleep(pause, undefined, { signal: this.#closing.signal });
      } catch {
        return; // The daemon ends.
      }
      try {
        await this.#exclusively(async () => {
          if (this.#state === state && !this.#membership) await this.#start(state);
        });
        return;
      } catch (error) {
        this.#failed(error);
      }
    }
  }

  #failed(error: unknown): void {
    this.#error = errorText(error);
    this.#context.logger.error({ err: error }, 'the swarm node did not start');
  }

  #exclusively<T>(change: () => Promise<T>): Promise<T> {
    const result = this.#changing.then(change, change);
    this.#changing = result.catch(() => undefined);
    return result;
  }

  #identityContext() {
    return {
      directory: join(this.#context.stateDirectory, 'certificates'),
      clock: systemClock,
      logger: this.#context.logger,
    };
  }
}

/** A node that joins is known by its address on the way to the manager, unless it is told otherwise (moby noderunner.go). */
async function advertisedTo(
  [manager = '']: readonly string[],
  { advertiseAddress, listenAddress }: JoinRequest,
): Promise<string> {
  return advertiseAddress === '' && listensEverywhere(listenAddress) ? addressTowards(manager) : advertiseAddress;
}

function availabilityOf(availability: Availability): NodeSpec_Availability {
  return {
    active: NodeSpec_Availability.ACTIVE,
    pause: NodeSpec_Availability.PAUSE,
    drain: NodeSpec_Availability.DRAIN,
  }[availability];
}

function checkDataPathPort(port: number): void {
  if (port === 0 || (port >= dataPathPorts.first && port <= dataPathPorts.last)) return;
  throw new SkeinError(
    'InvalidArgument',
    `Datapath port number is not in valid range (${dataPathPorts.first}-${dataPathPorts.last}) : ${port}`,
  );
}
