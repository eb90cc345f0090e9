/**
 * The kernel side of one overlay network on this host: a namespace with a bridge and a VXLAN device for each subnet.
 * Every function makes the kernel as it should be, from whatever state it is in.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  hasCode,
  type Link,
  type NetworkNamespace,
  Prefix,
  RouteSocket,
  readSysctl,
  type VxlanSpec,
  writeSysctl,
} from '@skein/netlink';
import { ensureIpv6Address, ensureIpv6Neighbours } from './ipv6.ts';
import { bridgeName, gateName, linkAlias, randomMac, vxlanName } from './names.ts';
import type { OverlayNetwork, OverlaySubnet } from './types.ts';

/** The end of this host's tunnels. */
export interface TunnelEnd {
  /** Plain address. */
  readonly vtep: string;
  /** UDP port. */
  readonly dataPathPort: number;
}

export interface SandboxPlan extends TunnelEnd {
  readonly network: OverlayNetwork;
  readonly mtu: number;
}

/**
 * A namespace that was just removed holds its VNI until the kernel has taken it apart in the background; so long is a
 * VNI that is taken tried again.
 */
const vniRetries = 40;
const vniRetryDelayMs = 50;
const forwarding = 'net.ipv4.ip_forward';
const ipv6Forwarding = 'net.ipv6.conf.all.forwarding';
/** Frames to unknown MACs leave by the tunnel only, where the forwarding database decides; nothing is learned there. */
const tunnelPort = { learning: false, unicastFlood: true } as const;

/**
 * Makes the devices of every subnet in the network's namespace. `host` is where the tunnel's UDP socket belongs.
 * @returns whether there is a new tunnel: one without rows.
 */
export async function ensureNetworkSandbox(
  host: NetworkNamespace,
  sandbox: NetworkNamespace,
  plan: SandboxPlan,
): Promise<boolean> {
  let hasNewTunnel = false;
  for (const [position, subnet] of plan.network.subnets.entries()) {
    const bridge = ensureBridge(sandbox, plan, subnet, position);
    if (await ensureVxlan(host, sandbox, plan, subnet, position, bridge)) hasNewTunnel = true;
    if (subnet.ipv6 !== undefined) ensureIpv6Neighbours(sandbox, vxlanName(position));
  }
  // Containers of one subnet reach those of another through their own gateway, which is in this namespace.
  if (plan.network.subnets.length < 2) return hasNewTunnel;
  const isDualStack = plan.network.subnets.some(({ ipv6 }) => ipv6);
  for (const setting of isDualStack ? [forwarding, ipv6Forwarding] : [forwarding])
    if (readSysctl(sandbox, setting) !== '1') writeSysctl(sandbox, setting, 1);
  return hasNewTunnel;
}

function ensureBridge(sandbox: NetworkNamespace, plan: SandboxPlan, subnet: OverlaySubnet, position: number): number {
  using route = RouteSocket.open(sandbox);
  const name = bridgeName(position);
  const existing = route.links.get(name);
  const link =
    existing ??
    route.links.create({
      kind: 'bridge',
      name,
      mac: randomMac(),
      mtu: plan.mtu,
      alias: linkAlias(plan.network.id, 'bridge'),
      up: true,
      multicastSnooping: false,
    });
  if (link.mtu !== plan.mtu || !link.up) route.links.set(link.index, { mtu: plan.mtu, up: true });
  const prefixLength = Prefix.parse(subnet.subnet).length;
  const present = route.addresses.list({ index: link.index, family: 'ipv4' });
  if (!present.some((entry) => entry.address === subnet.gateway && entry.prefixLength === prefixLength)) {
    const { broadcast } = Prefix.parse(subnet.subnet);
    route.addresses.replace({ index: link.index, address: subnet.gateway, prefixLength, broadcast });
  }
  if (subnet.ipv6 !== undefined) {
    const { length } = Prefix.parse(subnet.ipv6.subnet);
    ensureIpv6Address(sandbox, route, link, `${subnet.ipv6.gateway}/${length}`);
  }
  return link.index;
}

/** @returns whether it is a new one. */
async function ensureVxlan(
  host: NetworkNamespace,
  sandbox: NetworkNamespace,
  plan: SandboxPlan,
  subnet: OverlaySubnet,
  position: number,
  master: number,
): Promise<boolean> {
  using route = RouteSocket.open(sandbox);
  const name = vxlanName(position);
  const existing = route.links.get(name);
  if (existing !== undefined && isTunnel(existing, plan, subnet)) {
    const { mtu } = plan;
    if (existing.mtu !== mtu || !existing.up || existing.master !== master || existing.bridgePort?.learning !== false) {
      route.links.set(existing.index, { mtu, up: true, master, bridgePort: tunnelPort });
    }
    return false;
  }
  if (existing !== undefined) route.links.delete(existing.index);
  await createVxlan(host, {
    kind: 'vxlan',
    name,
    namespace: sandbox,
    vni: subnet.vni,
    port: plan.dataPathPort,
    local: plan.vtep,
    learning: false,
    proxy: true,
    mac: randomMac(),
    mtu: plan.mtu,
    alias: linkAlias(plan.network.id, 'tunnel'),
    master,
    bridgePort: tunnelPort,
    up: true,
  });
  return true;
}

function isTunnel({ vxlan }: Link, plan: SandboxPlan, subnet: OverlaySubnet): boolean {
  return (
    vxlan?.vni === subnet.vni &&
    vxlan.port === plan.dataPathPort &&
    vxlan.local === plan.vtep &&
    vxlan.proxy &&
    !vxlan.learning
  );
}

async function createVxlan(host: NetworkNamespace, spec: VxlanSpec): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      using route = RouteSocket.open(host);
      route.links.create(spec);
      return;
    } catch (error) {
      if (!hasCode(error, 'EEXIST') || attempt === vniRetries) throw error;
    }
    await sleep(vniRetryDelayMs);
  }
}

/** Takes down at once what reaches out of the sandbox, so that VNIs and names are free when the function returns. */
export function removeTunnels(sandbox: NetworkNamespace): void {
  using route = RouteSocket.open(sandbox);
  for (const link of route.links.list()) {
    if (link.kind === 'vxlan' || link.name === gateName) route.links.delete(link.index);
  }
}
