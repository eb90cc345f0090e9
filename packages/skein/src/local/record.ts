/** What is kept of a plain container's networks, one JSON file each; the container itself is the container room's. */
import type { OverlayNetwork } from '../overlay/types.ts';
import type { BridgeEndpoint, EndpointRequest, PublishedPort } from './types.ts';

/** A place that the container has while it runs. */
export type LivePlace =
  | { readonly kind: 'bridge'; readonly networkId: string; readonly endpoint: BridgeEndpoint }
  | {
      readonly kind: 'overlay';
      readonly attachmentId: string;
      readonly network: OverlayNetwork;
      /** CIDR. */
      readonly address: string;
      /** CIDR. */
      readonly ipv6Address?: string | undefined;
    };

export interface NetworkRecord {
  /** As the user said it. */
  target: string;
  /** Known from the first start on. */
  networkId: string;
  networkName: string;
  request: EndpointRequest;
  /** Number of its interface in the container. */
  position: number;
  live?: LivePlace | undefined;
}

/** How the container has its network: its own namespace with networks or nothing in it, the host's, or another's. */
export type NetworkMode =
  | { readonly kind: 'own' }
  | { readonly kind: 'none' }
  | { readonly kind: 'host' }
  | { readonly kind: 'container'; readonly of: string };

export interface PlainRecord {
  readonly containerId: string;
  name: string;
  readonly hostname: string;
  readonly mode: NetworkMode;
  networks: NetworkRecord[];
  gatewayPosition?: number | undefined;
  /** Open ports. */
  ports: PublishedPort[];
  /** Its sandbox is there, or is being made or removed. */
  up: boolean;
  /** The user stopped it: no policy but `always` starts it again. */
  stopped: boolean;
}

/** @returns the lowest number of an interface that the container does not have. */
export function freePosition(record: PlainRecord): number {
  const taken = new Set([record.gatewayPosition, ...record.networks.map(({ position }) => position)]);
  let position = 0;
  while (taken.has(position)) position++;
  return position;
}
