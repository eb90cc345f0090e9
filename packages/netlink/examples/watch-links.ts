/** Follows what happens to the links and addresses of a namespace. Run as root. */
import { NetworkNamespace, RouteMonitor, RouteSocket } from '@skein/netlink';

const path = `/run/netlink-example-${process.pid}-watched`;
using cleanup = new DisposableStack();
cleanup.defer(() => NetworkNamespace.delete(path));
const namespace = cleanup.use(NetworkNamespace.create(path));

// Listen first, then read the tables: nothing is missed.
using monitor = RouteMonitor.open(namespace, ['link', 'address']);
using routes = RouteSocket.open(namespace);
console.log(`now: ${routes.links.list().map(({ name }) => name)}`);

const { index } = routes.links.create({ kind: 'bridge', name: 'br0', up: true });
routes.addresses.add({ index, address: '192.0.2.1', prefixLength: 24 });
routes.links.delete(index);

for await (const event of monitor) {
  if (event.type === 'overrun') console.log('events were lost: read the tables again');
  if (event.type === 'address') console.log(`address ${event.address.address}: ${event.action}`);
  if (event.type !== 'link') continue;
  console.log(`link ${event.link.name}: ${event.action}, ${event.link.up ? 'up' : 'down'}`);
  if (event.action === 'deleted') break;
}
