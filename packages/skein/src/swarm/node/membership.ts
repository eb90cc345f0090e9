import { join } from 'node:path';
import { type Logger, systemClock } from '../../common/index.ts';
import { Agent } from '../agent/index.ts';
import type { NodeIdentity } from '../identity/index.ts';
import { type LocalRoute, Manager, type NewClusterOptions } from '../manager/index.ts';
import { formatHostPort, localAddress } from './addresses.ts';
import { type MembershipState, removeMembership } from './state.ts';
import type { HostExecutor, HostExecutorFactory } from './types.ts';

export interface MembershipContext {
  readonly stateDirectory: string;
  readonly logger: Logger;
  readonly createExecutor: HostExecutorFactory;
  /** The routes of this host, which the cluster's networks must not overlap. */
  readonly localRoutes: () => readonly LocalRoute[];
}

/** A node that is in a swarm: its identity, its manager if it is one, and its agent, all running. */
export class Membership implements AsyncDisposable {
  readonly state: MembershipState;
  readonly identity: NodeIdentity;
  readonly manager: Manager | undefined;
  readonly agent: Agent;
  readonly #host: HostExecutor;
  readonly #context: MembershipContext;

  private constructor(parts: {
    context: MembershipContext;
    state: MembershipState;
    identity: NodeIdentity;
    manager: Manager | undefined;
    agent: Agent;
    host: HostExecutor;
  }) {
    this.#context = parts.context;
    this.#host = parts.host;
    this.state = parts.state;
    this.identity = parts.identity;
    this.manager = parts.manager;
    this.agent = parts.agent;
  }

  /**
   * Starts the manager (for a manager) and the agent. @param newCluster given by init: what the store begins with.
   * @throws Error when the manager's port cannot be bound; nothing is left running then.
   */
  static async start(
    context: MembershipContext,
    state: MembershipState,
    identity: NodeIdentity,
    newCluster?: NewClusterOptions,
  ): Promise<Membership> {
    await using started = new AsyncDisposableStack();
    started.use(identity);
    const advertise = formatHostPort(state.addresses.advertise);
    const host = started.use(
      context.createExecutor({
        nodeId: identity.nodeId,
        addresses: state.addresses,
        tlsInfo: () => identity.tlsInfo(),
      }),
    );
    const manager =
      state.role === 'manager'
        ? started.use(
            await Manager.start({
              directory: join(context.stateDirectory, 'manager'),
              identity,
              listen: state.addresses.listen,
              advertise,
              logger: context.logger,
              localRoutes: context.localRoutes,
              witness: host.witness,
              ...(newCluster ? { newCluster } : {}),
            }),
          )
        : undefined;
    const agent = await Agent.start({
      executor: host.executor,
      identity,
      ...(manager
        ? { managers: [advertise], ownManager: { advertised: advertise, local: localAddress(state.addresses.listen) } }
        : { managers: state.managers }),
      stateDirectory: join(context.stateDirectory, 'agent'),
      clock: systemClock,
      logger: context.logger,
    });
    started.move();
    return new Membership({ context, state, identity, manager, agent, host });
  }

  /**
   * Leaves for good: tasks are stopped and removed, the gossip is left, the state is forgotten.
   * @throws what one of these threw; the others are done all the same.
   */
  async leave(): Promise<void> {
    // From the last to the first.
    await using leaving = new AsyncDisposableStack();
    leaving.defer(() => removeMembership(this.#context.stateDirectory));
    leaving.defer(() => this.identity.remove());
    leaving.use(this.manager);
    leaving.defer(() => this.#host.leave());
    leaving.defer(() => this.agent.close({ stopTasks: true }));
  }

  /** Stops; tasks and their traffic go on, and the next start finds them. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.agent.close({ stopTasks: false });
    await this.#host[Symbol.asyncDispose]();
    await this.manager?.[Symbol.asyncDispose]();
    this.identity[Symbol.dispose]();
  }
}
