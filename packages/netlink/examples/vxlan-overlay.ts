/**
 * An overlay network by hand: two "hosts" on an underlay, on each a sandbox with a bridge and a VXLAN device whose
 * forwarding table is written, not learned. A datagram travels; the underlay's frames are decoded. Run as root.
 *
 *     c1 ─ br0 ─ vxlan0 ══ host1 ── underlay ── host2 ══ vxlan0 ─ br0 ─ c2      (c1, c2: br0's own address)
 */
import { once } from 'node:events';
import { decodeFrame, NetworkNamespace, PacketSocket, RouteSocket, udpClientIn, udpSocketIn } from '@skein/netlink';

const VNI = 4097;
const VXLAN_PORT = 4789;
using cleanup = new DisposableStack();

function namespace(name: string): NetworkNamespace {
  const path = `/run/netlink-example-${process.pid}-${name}`;
  cleanup.defer(() => NetworkNamespace.delete(path));
  return cleanup.use(NetworkNamespace.create(path, { loopback: true }));
}

interface Host {
  readonly network: NetworkNamespace;
  readonly sandbox: NetworkNamespace;
  readonly vtep: string;
  readonly address: string;
  readonly mac: string;
}
const host = (n: number): Host => ({
  network: namespace(`host${n}`),
  sandbox: namespace(`sandbox${n}`),
  vtep: `172.31.1.${n}`,
  address: `10.0.1.${n}`,
  mac: `02:42:0a:00:01:0${n}`,
});
const [one, two] = [host(1), host(2)];

// The underlay: a cable between the two hosts.
using cable = RouteSocket.open(one.network);
cable.links.create({ kind: 'veth', name: 'eth0', peer: { name: 'eth0', namespace: two.network } });
for (const { network, vtep } of [one, two]) {
  using routes = RouteSocket.open(network);
  const index = routes.links.get('eth0')?.index ?? 0;
  routes.links.set(index, { up: true });
  routes.addresses.add({ index, address: vtep, prefixLength: 24 });
}

for (const [self, peer] of [
  [one, two],
  [two, one],
] as const) {
  using outside = RouteSocket.open(self.network);
  using inside = RouteSocket.open(self.sandbox);
  const mtu = outside.routes.get(peer.vtep).mtu - 50;
  const bridge = inside.links.create({ kind: 'bridge', name: 'br0', mac: self.mac, mtu, up: true });
  // Created through the host's connection and born in the sandbox: its UDP socket stays in the host's namespace.
  const vxlan = outside.links.create({
    kind: 'vxlan',
    name: 'vxlan0',
    vni: VNI,
    port: VXLAN_PORT,
    local: self.vtep,
    mtu,
    namespace: self.sandbox,
    master: bridge.index,
    up: true,
  });
  inside.addresses.add({ index: bridge.index, address: self.address, prefixLength: 24 });
  inside.neighbours.replace({ index: bridge.index, ip: peer.address, mac: peer.mac });
  inside.fdb.replace({ index: vxlan.index, mac: peer.mac, destination: peer.vtep });
  const [row] = inside.fdb.list({ index: vxlan.index }).filter(({ mac }) => mac === peer.mac);
  console.log(`${self.vtep}: ${row?.mac} is behind ${row?.destination} (${row?.state}), MTU ${mtu}`);
}

using underlay = PacketSocket.open(two.network, 'eth0');
const server = await udpSocketIn(two.sandbox, { address: two.address, port: 7 });
server.on('message', (data, from) => server.send(data, from.port, from.address));
const client = await udpClientIn(one.sandbox, { address: two.address, port: 7 });
// A bridge that has just got its carrier may lose the first frames.
const sending = setInterval(() => client.send('hello through VXLAN'), 50);
console.log(`echo: ${(await once(client, 'message'))[0]}`);
clearInterval(sending);
client.close();
server.close();

for (const { data } of underlay.drain()) {
  const [, ip, , vxlan, , innerIp] = decodeFrame(data);
  if (ip?.type !== 'ipv4' || vxlan?.type !== 'vxlan' || innerIp?.type !== 'ipv4') continue;
  console.log(
    `underlay: ${ip.source} > ${ip.destination} VNI ${vxlan.vni}: ${innerIp.source} > ${innerIp.destination}`,
  );
}
