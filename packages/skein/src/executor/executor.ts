import { arch, cpus, totalmem } from 'node:os';
import { create } from '@bufbuild/protobuf';
import type { LoadBalancer } from '../balancer/types.ts';
import type { Logger } from '../common/index.ts';
import type { ContainerRuntime } from '../container/types.ts';
import type { Discovery } from '../discovery/types.ts';
import type { OverlayDriver, OverlayNetwork } from '../overlay/types.ts';
import type { Dependencies, Executor, TaskController } from '../swarm/agent/types.ts';
import type { Node, Task } from '../swarm/gen/objects_pb.js';
import {
  type EncryptionKey,
  type NodeDescription,
  NodeDescriptionSchema,
  type NodeTLSInfo,
  type WeightedPeer,
} from '../swarm/gen/types_pb.js';
import { AttachmentController, type Attachments } from './attachments.ts';
import type { ClusterNetwork } from './cluster-network.ts';
import { ContainerController } from './controller.ts';
import { type IngressAttachment, IngressEntrance } from './ingress-entrance.ts';
import { isOverlay, overlayNetworkOf } from './overlay-network.ts';
import { type HostResolver, TaskNetwork } from './task-network.ts';
import { TaskPulls } from './task-pulls.ts';

/** What the scheduler's plugin filter looks for (protocols: "what a worker's description must contain"). */
const plugins = [
  { type: 'Log', name: 'json-file' },
  { type: 'Network', name: 'host' },
  { type: 'Network', name: 'null' },
  { type: 'Network', name: 'overlay' },
  { type: 'Volume', name: 'local' },
  // Beyond Docker: networks take further subnets while containers run.
  { type: 'Skein', name: 'growing-networks' },
];
/** Node's names for processors → those of `uname -m`, which the swarm protocol uses. */
const machineNames: Readonly<Record<string, string>> = { x64: 'x86_64', arm64: 'aarch64', ia32: 'i686' };

export interface ContainerExecutorOptions {
  readonly nodeId: string;
  readonly hostname: string;
  readonly engineVersion: string;
  readonly engineLabels: Readonly<Record<string, string>>;
  readonly runtime: ContainerRuntime;
  readonly overlay: OverlayDriver;
  readonly discovery: Discovery;
  readonly balancer: LoadBalancer;
  readonly network: ClusterNetwork;
  /** Where attachment tasks of plain containers are told. */
  readonly attachments: Attachments;
  readonly hostResolver: () => HostResolver;
  /** This node's trust root and issuer. */
  readonly tlsInfo: () => NodeTLSInfo | undefined;
  readonly logger: Logger;
}

/** The Executor of this host: tasks as containers on overlay networks. */
export class ContainerExecutor implements Executor, AsyncDisposable {
  readonly #options: ContainerExecutorOptions;
  readonly #taskNetwork: TaskNetwork;
  readonly #pulls: TaskPulls;
  readonly #entrance: IngressEntrance;

  constructor(options: ContainerExecutorOptions) {
    this.#options = options;
    this.#taskNetwork = new TaskNetwork(options.overlay, options.discovery, options.balancer);
    this.#pulls = new TaskPulls(options.runtime.images);
    this.#entrance = new IngressEntrance(options);
  }

  describe(): Promise<NodeDescription> {
    return Promise.resolve(this.#description());
  }

  #description(): NodeDescription {
    const tlsInfo = this.#options.tlsInfo();
    return create(NodeDescriptionSchema, {
      hostname: this.#options.hostname,
      platform: { architecture: machineNames[arch()] ?? arch(), os: 'linux' },
      resources: { nanoCpus: BigInt(cpus().length) * 1_000_000_000n, memoryBytes: BigInt(totalmem()) },
      engine: { engineVersion: this.#options.engineVersion, labels: { ...this.#options.engineLabels }, plugins },
      ...(tlsInfo ? { tlsInfo } : {}),
    });
  }

  async configure(node: Node): Promise<void> {
    this.#options.network.setDataPathPort(node.vxlanUdpPort);
    const addresses = new Map<string, { network: OverlayNetwork; address: string }>();
    let ingress: IngressAttachment | undefined;
    for (const { network, addresses: own } of node.attachments) {
      const [address] = own;
      if (!network || !address || !isOverlay(network)) continue;
      const attachment = { network: overlayNetworkOf(network), address };
      // The entrance to the mesh has the address there.
      if (attachment.network.ingress) ingress = attachment;
      else addresses.set(network.id, attachment);
    }
    await this.#options.overlay.setLoadBalancerAddresses(addresses);
    this.#entrance.configure(ingress);
  }

  async setManagers(managers: readonly WeightedPeer[]): Promise<void> {
    await this.#options.network.setManagers(managers);
  }

  async setNetworkKeys(keys: readonly EncryptionKey[]): Promise<void> {
    await this.#options.network.setKeys(keys);
  }

  /** The host leaves the swarm: what no task needs any more is taken down. */
  async leave(): Promise<void> {
    await this.#entrance.remove();
    await this.#options.network.leave({ removeGateway: true });
  }

  /** Stops without leaving a trace in the kernel's state: containers' traffic goes on while the daemon is away. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#entrance[Symbol.asyncDispose]();
    await this.#options.network[Symbol.asyncDispose]();
  }

  controller(task: Task, dependencies: Dependencies): TaskController {
    if (task.spec?.runtime.case === 'attachment') return new AttachmentController(task, this.#options.attachments);
    return new ContainerController(task, dependencies, {
      runtime: this.#options.runtime,
      pulls: this.#pulls,
      network: this.#taskNetwork,
      hostResolver: this.#options.hostResolver,
      node: () => ({ id: this.#options.nodeId, description: this.#description() }),
      logger: this.#options.logger,
      joined: (signal) => this.#options.network.joined(signal),
    });
  }
}
