import { errorText, type Logger, RpcError, SkeinError } from '../common/index.ts';
import type { OverlayNetwork } from '../overlay/types.ts';
import type { ContainerFacts, TaskController, TaskLogEntry } from '../swarm/agent/types.ts';
import type { Task } from '../swarm/gen/objects_pb.js';
import type { PortStatus } from '../swarm/gen/types_pb.js';
import { endpointAddresses, isOverlay, overlayNetworkOf } from './overlay-network.ts';

/** How long the manager may take to allocate and assign an attachment (moby daemon/cluster/networks.go: 20 s). */
const attachTimeoutMs = 20_000;

/** A plain container's place on an overlay network, as the manager gave it. */
export interface Attachment {
  /** The attachment task's ID. */
  readonly id: string;
  readonly network: OverlayNetwork;
  /** CIDR. */
  readonly address: string;
  /** CIDR. */
  readonly ipv6Address?: string | undefined;
}

/** The part of the swarm node that asks managers for attachments. */
export interface AttachmentSource {
  attachNetwork(request: {
    target: string;
    containerId: string;
    addresses: readonly string[];
    aliases: readonly string[];
  }): Promise<string>;
  detachNetwork(attachmentId: string): Promise<void>;
}

/**
 * Brings two ways together: a plain container asks a manager for a place on a network, and the agent is assigned the
 * attachment task that holds it.
 */
export class Attachments {
  readonly #logger: Logger;
  /** Attachments that were assigned, by task ID. BOUNDED by the assignments of this node. */
  readonly #assigned = new Map<string, Attachment>();
  /** Those that a container waits for. BOUNDED by the calls under way. */
  readonly #awaited = new Map<string, (attachment: Attachment) => void>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /**
   * Asks for a place and waits until it is assigned.
   * @throws RpcError of the manager; SkeinError DeadlineExceeded when no address came. Nothing is left then; what cannot
   * be given back is logged.
   */
  async attach(
    source: AttachmentSource,
    request: Parameters<AttachmentSource['attachNetwork']>[0],
  ): Promise<Attachment> {
    const id = await source.attachNetwork(request).catch((error: unknown) => {
      throw attachError(request.target, error);
    });
    try {
      return await this.#assignment(id, request.target);
    } catch (error) {
      await source.detachNetwork(id).catch((cause: unknown) => {
        const left = { attachment: id, network: request.target, error: errorText(cause) };
        this.#logger.warn(left, 'an attachment that came to nothing is left at the manager');
      });
      throw error;
    }
  }

  async #assignment(id: string, target: string): Promise<Attachment> {
    const known = this.#assigned.get(id);
    if (known) return known;
    const { promise, resolve, reject } = Promise.withResolvers<Attachment>();
    this.#awaited.set(id, resolve);
    const why = `attaching to network ${target} failed: no address from the manager within ${attachTimeoutMs / 1000} s; a wanted address may be taken`;
    const timer = setTimeout(() => reject(new SkeinError('DeadlineExceeded', why)), attachTimeoutMs);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#awaited.delete(id);
    }
  }

  /** IDs of the attachments that are assigned and that no call waits for. */
  held(): string[] {
    return [...this.#assigned.keys()].filter((id) => !this.#awaited.has(id));
  }

  /** The agent was assigned the attachment. */
  assigned(attachment: Attachment): void {
    this.#assigned.set(attachment.id, attachment);
    this.#awaited.get(attachment.id)?.(attachment);
  }

  /** The attachment is no longer assigned. */
  revoked(id: string): void {
    this.#assigned.delete(id);
  }
}

/** In dockerd's words (moby daemon/container_operations.go: findAndAttachNetwork). */
function attachError(target: string, error: unknown): unknown {
  if (!(error instanceof SkeinError)) return error;
  if (error instanceof RpcError && error.code !== 'NotFound') {
    return new SkeinError(error.code, `Could not attach to network ${target}: ${errorText(error)}`, { cause: error });
  }
  return error.code === 'NotFound'
    ? new SkeinError('NotFound', `network ${target} not found`, { cause: error })
    : error;
}

/** An attachment task: nothing runs for it, it only holds an address as long as its container is on the network. */
export class AttachmentController implements TaskController {
  readonly #attachments: Attachments;
  #task: Task;

  constructor(task: Task, attachments: Attachments) {
    this.#task = task;
    this.#attachments = attachments;
  }

  update(task: Task): void {
    this.#task = task;
  }

  async prepare(): Promise<void> {
    this.#attachments.assigned(attachmentOf(this.#task));
  }

  async start(): Promise<void> {
    this.#attachments.assigned(attachmentOf(this.#task));
  }

  /** Ends only with the assignment. The first step of one that ran already when the daemon started: it is told here, too. */
  wait(signal: AbortSignal): Promise<void> {
    this.#attachments.assigned(attachmentOf(this.#task));
    return new Promise((_resolve, reject) => {
      const abort = (): void => reject(new SkeinError('Canceled', 'no longer attached', { cause: signal.reason }));
      if (signal.aborted) abort();
      signal.addEventListener('abort', abort, { once: true });
    });
  }

  async shutdown(): Promise<void> {
    this.#attachments.revoked(this.#task.id);
  }

  async remove(): Promise<void> {
    this.#attachments.revoked(this.#task.id);
  }

  async containerFacts(): Promise<ContainerFacts | undefined> {
    return undefined;
  }

  async portStatus(): Promise<PortStatus | undefined> {
    return undefined;
  }

  async *logs(): AsyncIterable<TaskLogEntry> {
    // Its container's logs belong to the container's user, not to the swarm.
  }
}

function attachmentOf(task: Task): Attachment {
  const [given] = task.networks;
  const network = given?.network && isOverlay(given.network) ? overlayNetworkOf(given.network) : undefined;
  const addresses = network && endpointAddresses(network, given?.addresses ?? []);
  if (!network || !addresses) {
    throw new SkeinError('FailedPrecondition', `attachment ${task.id} has no address on an overlay network`);
  }
  return { id: task.id, network, ...addresses };
}
