import { RpcError, SkeinError } from '../../../common/index.ts';
import type { NetworkSpec } from '../../gen/specs_pb.js';
import type { IPAMConfig } from '../../gen/types_pb.js';
import { contains, parseAddress, parseSubnet } from '../allocator/index.ts';

const mtuOption = 'com.docker.network.driver.mtu';
/** The largest that an IP packet can be (RFC 791). */
const largestMtu = 65_535;
/** RFC 8200 section 5. */
const smallestIpv6Mtu = 1280;
/** Outer Ethernet, IPv4, UDP and VXLAN headers (RFC 7348 section 5). */
const vxlanOverhead = 50;

/** Refuses what no node could build: Docker takes it, and every task of the network fails. @throws SkeinError, in the words of those failures. */
export function checkNetworkOptions(spec: NetworkSpec): void {
  const mtu = spec.driverConfig?.options[mtuOption];
  if (mtu !== undefined && !(/^\d+$/.test(mtu) && Number(mtu) <= largestMtu))
    throw new SkeinError('InvalidArgument', `invalid MTU value: ${mtu}`);
  const least = smallestIpv6Mtu + vxlanOverhead;
  if (spec.ipv6Enabled && Number(mtu) > 0 && Number(mtu) < least)
    throw new SkeinError(
      'InvalidArgument',
      `network ${spec.annotations?.name}: IPv6 needs an MTU of ${smallestIpv6Mtu}, so ${mtuOption} must be ${least} or more`,
    );
  if (spec.ingress && (spec.ipam?.configs.length ?? 0) > 1)
    throw new SkeinError('InvalidArgument', 'the ingress network has one subnet: give it a larger one');
}

/** @throws RpcError for auxiliary addresses that are none or of another subnet, given twice or the gateway's. */
export function checkReserved({ subnet, gateway, reserved }: IPAMConfig): void {
  const parsed = parseSubnet(subnet);
  // Without a wish the gateway is the subnet's first address.
  const taken = new Set([gateway === '' ? parsed && parsed.base + 1n : parseAddress(gateway)]);
  for (const text of Object.values(reserved)) {
    const address = parseAddress(text);
    if (address === undefined) throw new RpcError('InvalidArgument', `ipam configuration: invalid aux-address ${text}`);
    if (parsed && !contains(parsed, address))
      throw new RpcError(
        'InvalidArgument',
        `ipam configuration: subnet ${subnet} does not contain aux-address ${text}`,
      );
    if (taken.has(address))
      throw new RpcError(
        'InvalidArgument',
        `ipam configuration: Address already in use: aux-address ${text} is the gateway or given twice`,
      );
    taken.add(address);
  }
}
