import { RouteSocket } from '@skein/netlink';

/** Kernel's main routing table (linux/rtnetlink.h RT_TABLE_MAIN). */
const mainTable = 254;

/** @returns this host's routes with the link each leaves by, the default route left out: everything overlaps it. */
export function hostRoutes(): { destination: string; device: string }[] {
  using socket = RouteSocket.open();
  const names = new Map(socket.links.list().map((link) => [link.index, link.name]));
  return socket.routes
    .list({ table: mainTable })
    .filter((route) => !route.destination.endsWith('/0'))
    .map((route) => ({ destination: route.destination, device: names.get(route.index ?? 0) ?? '' }));
}
