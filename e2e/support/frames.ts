/** Frames as the walk-through explains them: addresses, ICMP, and the frame that a VXLAN packet carries. */
import { decodeFrame, type Layer } from '@skein/netlink';

/** RFC 792: what ping sends and gets. */
const icmpMessages: Readonly<Record<number, string>> = {
  0: 'echo reply',
  3: 'unreachable',
  8: 'echo request',
  11: 'time exceeded',
};

export interface Frame {
  readonly sourceMac: string;
  readonly destinationMac: string;
  readonly sourceIp?: string;
  readonly destinationIp?: string;
  readonly ttl?: number;
  readonly udp?: { readonly sourcePort: number; readonly destinationPort: number };
  readonly icmp?: { readonly type: string; readonly sequence: number };
  readonly vxlan?: { readonly vni: number; readonly inner: Frame };
}

/** @returns the frame of these bytes, and within it the one that VXLAN carries. */
export function readFrame(bytes: Uint8Array): Frame {
  return assemble(decodeFrame(bytes));
}

function assemble(layers: readonly Layer[]): Frame {
  let frame: Frame = { sourceMac: '', destinationMac: '' };
  for (const [index, layer] of layers.entries()) {
    if (layer.type === 'ethernet') frame = { sourceMac: layer.source, destinationMac: layer.destination };
    else if (layer.type === 'ipv4' || layer.type === 'ipv6')
      frame = { ...frame, sourceIp: layer.source, destinationIp: layer.destination, ttl: layer.ttl };
    else if (layer.type === 'udp') frame = { ...frame, udp: layer };
    else if (layer.type === 'icmp')
      frame = {
        ...frame,
        icmp: { type: icmpMessages[layer.message] ?? `type ${layer.message}`, sequence: layer.sequence },
      };
    else if (layer.type === 'vxlan')
      return { ...frame, vxlan: { vni: layer.vni, inner: assemble(layers.slice(index + 1)) } };
  }
  return frame;
}

/** @returns one line about a frame, the carried one included. */
export function describeFrame(frame: Frame): string {
  const ethernet = `${frame.sourceMac} > ${frame.destinationMac}`;
  const ip = frame.sourceIp ? ` ${frame.sourceIp} > ${frame.destinationIp}` : '';
  const icmp = frame.icmp ? ` ICMP ${frame.icmp.type} seq ${frame.icmp.sequence} ttl ${frame.ttl}` : '';
  const udp = frame.udp ? ` UDP ${frame.udp.sourcePort} > ${frame.udp.destinationPort}` : '';
  const carried = frame.vxlan ? ` VXLAN VNI ${frame.vxlan.vni} [ ${describeFrame(frame.vxlan.inner)} ]` : '';
  return `${ethernet}${ip}${icmp}${udp}${carried}`;
}
