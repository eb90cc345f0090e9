import type { EntranceAddresses, LoadBalancer } from '../balancer/types.ts';
import { errorText, type Logger } from '../common/index.ts';
import type { OverlayDriver, OverlayNetwork, SandboxState } from '../overlay/types.ts';
import type { ClusterNetwork } from './cluster-network.ts';
import { twinAddress, withIpv6Twin } from './ingress-twin.ts';
import { plainAddress } from './overlay-network.ts';

/** Docker's names for it: the key in `network inspect ingress`, and the endpoint's name there. */
export const ingressSandboxId = 'ingress-sbox';
const ingressSandboxName = 'ingress-endpoint';
/** After a failure. */
const retryMs = 5000;

/** This node's attachment to the ingress network: the network, and the load balancer's address there (CIDR). */
export interface IngressAttachment {
  readonly network: OverlayNetwork;
  readonly address: string;
}

/**
 * The entrance to the routing mesh that every node has, tasks or none: a sandbox on the ingress network, with the node's
 * load-balancer address, and on docker_gwbridge.
 */
export class IngressEntrance implements AsyncDisposable {
  readonly #overlay: OverlayDriver;
  readonly #balancer: LoadBalancer;
  readonly #network: ClusterNetwork;
  readonly #logger: Logger;
  #wanted: IngressAttachment | undefined;
  #round = new AbortController();
  #work: Promise<void> = Promise.resolve();

  constructor(options: {
    overlay: OverlayDriver;
    balancer: LoadBalancer;
    network: ClusterNetwork;
    logger: Logger;
  }) {
    this.#overlay = options.overlay;
    this.#balancer = options.balancer;
    this.#network = options.network;
    this.#logger = options.logger;
  }

  /** What the manager says; the rest happens when this node is in the gossip. Does not wait. */
  configure(wanted: IngressAttachment | undefined): void {
    if (JSON.stringify(wanted) === JSON.stringify(this.#wanted)) return;
    this.#wanted = wanted;
    this.#stopRound();
    const { signal } = this.#round;
    this.#work = this.#work.then(() => (wanted ? this.#open(wanted, signal) : this.#close()));
  }

  /** Closes the entrance and removes its sandbox. */
  async remove(): Promise<void> {
    this.configure(undefined);
    await this.#work;
  }

  /** Stops trying. What stands stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopRound();
    await this.#work;
  }

  #stopRound(): void {
    this.#round.abort();
    this.#round = new AbortController();
  }

  async #open(wanted: IngressAttachment, signal: AbortSignal): Promise<void> {
    let told = '';
    while (!signal.aborted) {
      try {
        await this.#network.joined(signal);
        await this.#build(wanted);
        return;
      } catch (error) {
        if (signal.aborted) return;
        const reason = errorText(error);
        // Each new reason once: only the user can mend an address that the host does not have.
        this.#logger[reason === told ? 'debug' : 'error'](
          { error: reason },
          'the entrance to the routing mesh cannot be built',
        );
        told = reason;
        await delay(retryMs, signal);
      }
    }
  }

  async #build({ network: given, address }: IngressAttachment): Promise<void> {
    const network = this.#overlay.hasIpv6() ? withIpv6Twin(given) : given;
    const ipv6Address = twinAddress(network, address);
    const sandbox = await this.#overlay.createSandbox({
      containerId: ingressSandboxId,
      containerName: ingressSandboxName,
      endpoints: [{ network, address, ipv6Address, aliases: [] }],
      gateway: true,
    });
    const [endpoint] = sandbox.endpoints;
    if (!endpoint || !sandbox.gateway) throw new Error(`${ingressSandboxId} has no endpoint or no gateway`);
    this.#balancer.setEntrance({
      networkId: network.id,
      networkNamespace: sandbox.networkNamespace,
      ingressInterface: endpoint.interfaceName,
      loadBalancerAddress: plainAddress(address),
      gatewayAddress: plainAddress(sandbox.gateway.address),
      gatewaySubnet: sandbox.gateway.address,
      ipv6: ipv6Of(sandbox, ipv6Address),
    });
  }

  async #close(): Promise<void> {
    try {
      this.#balancer.setEntrance(undefined);
      await this.#overlay.removeSandbox(ingressSandboxId);
    } catch (error) {
      this.#logger.error({ error: errorText(error) }, 'the entrance to the routing mesh cannot be removed');
    }
  }
}

function ipv6Of({ gateway }: SandboxState, address: string | undefined): EntranceAddresses | undefined {
  if (address === undefined || gateway?.ipv6Address === undefined) return undefined;
  return {
    loadBalancerAddress: plainAddress(address),
    gatewayAddress: plainAddress(gateway.ipv6Address),
    gatewaySubnet: gateway.ipv6Address,
  };
}

/** Waits, or until the signal aborts. */
function delay(milliseconds: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, milliseconds);
  signal.addEventListener(
    'abort',
    () => {
      clearTimeout(timer);
      resolve();
    },
    { once: true },
  );
  return promise;
}
