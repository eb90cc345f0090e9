/** Two network namespaces joined by a cable, and a datagram from one to the other. Run as root. */
import { once } from 'node:events';
import { NetworkNamespace, RouteSocket, udpClientIn, udpSocketIn } from '@skein/netlink';

using cleanup = new DisposableStack();
const [left, right] = ['left', 'right'].map((name) => {
  const path = `/run/netlink-example-${process.pid}-${name}`;
  cleanup.defer(() => NetworkNamespace.delete(path));
  return cleanup.use(NetworkNamespace.create(path, { loopback: true }));
}) as [NetworkNamespace, NetworkNamespace];

// A veth pair is a cable: one end here, the other end there.
const routes = cleanup.use(RouteSocket.open(left));
const routesRight = cleanup.use(RouteSocket.open(right));
const near = routes.links.create({
  kind: 'veth',
  name: 'eth0',
  up: true,
  peer: { name: 'eth0', up: true, namespace: right },
});
routes.addresses.add({ index: near.index, address: '192.0.2.1', prefixLength: 24 });
const far = routesRight.links.get('eth0');
if (!far) throw new Error('the cable has no other end');
routesRight.addresses.add({ index: far.index, address: '192.0.2.2', prefixLength: 24 });
console.log(`${near.name} (${near.mac}) to ${far.name} (${far.mac})`);

const way = routes.routes.get('192.0.2.2');
console.log(`192.0.2.2 is reached through link ${way.index} from ${way.preferredSource}, MTU ${way.mtu}`);

const server = await udpSocketIn(right, { address: '192.0.2.2', port: 7 });
server.on('message', (data, from) => server.send(data, from.port, from.address));
const client = await udpClientIn(left, { address: '192.0.2.2', port: 7 });
const answer = once(client, 'message');
client.send('hello');
console.log(`echo: ${(await answer)[0]}`);
client.close();
server.close();
