import { hasCode, NetlinkError } from '../errors.ts';
import type { Family } from '../ip.ts';
import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from '../wire/message.ts';
import type { NetlinkConnection } from './connection.ts';
import { ignoring, Links } from './links.ts';
import {
  decodeRoute,
  encodeRoute,
  encodeRouteFilter,
  encodeRouteLookup,
  encodeRouteMatch,
  type Route,
  type RouteSpec,
  RTM_DELROUTE,
  RTM_GETROUTE,
  RTM_NEWROUTE,
} from './route-codec.ts';

const EIO = 5;

/** The answer to "which way?": `index` and `mtu` are always known. */
export interface RouteLookup extends Route {
  readonly index: number;
  /** The route's MTU where it has one, else the outgoing link's. */
  readonly mtu: number;
}

/** The routing tables of one namespace. */
export class Routes {
  readonly #connection: NetlinkConnection;
  readonly #links: Links;

  constructor(connection: NetlinkConnection) {
    this.#connection = connection;
    this.#links = new Links(connection);
  }

  /** The routes of all tables, or of one. Equivalent to `ip route show table all`. */
  list(filter: { family?: Family; table?: number } = {}): Route[] {
    const families: Family[] = filter.family ? [filter.family] : ['ipv4', 'ipv6'];
    return families.flatMap((family) => this.#dump(family, filter.table));
  }

  #dump(family: Family, table: number | undefined): Route[] {
    const operation = `RTM_GETROUTE ${family}`;
    const payload = encodeRouteFilter(family, table);
    try {
      const answers = this.#connection.dump({ type: RTM_GETROUTE, payload, operation });
      return answers.flatMap((message) => decodeRoute(message.payload) ?? []);
    } catch (error) {
      // A table that nothing has written to does not exist yet.
      if (table !== undefined && hasCode(error, 'ENOENT')) return [];
      throw error;
    }
  }

  /** Adds a route; EEXIST when there is one of the same destination and metric. Equivalent to `ip route add`. */
  add(route: RouteSpec): void {
    this.#put(NLM_F_CREATE | NLM_F_EXCL, route);
  }

  /** Adds a route, or replaces the one of the same destination and metric. Equivalent to `ip route replace`. */
  replace(route: RouteSpec): void {
    this.#put(NLM_F_CREATE | NLM_F_REPLACE, route);
  }

  /** Removes the first route that matches; what is left out of `route` matches all. None there is no error. Equivalent to `ip route delete`. */
  delete(route: RouteSpec): void {
    const operation = `RTM_DELROUTE ${route.destination}`;
    // ESRCH: no such route. ENODEV: its link is gone, and the route with it.
    ignoring(['ESRCH', 'ENODEV'], () =>
      this.#connection.request({ type: RTM_DELROUTE, payload: encodeRouteMatch(route), operation }),
    );
  }

  /**
   * Asks the kernel which way a packet would go: outgoing link, gateway, source address, MTU.
   * Equivalent to `ip route get`.
   * @throws NetlinkError ENETUNREACH, EHOSTUNREACH when there is no way.
   */
  get(destination: string, options: { mark?: number; source?: string } = {}): RouteLookup {
    const operation = `RTM_GETROUTE ${destination}`;
    const payload = encodeRouteLookup(destination, options);
    const [answer] = this.#connection.request({ type: RTM_GETROUTE, payload, operation });
    const route = answer && decodeRoute(answer.payload, { cached: true });
    if (route?.index === undefined) throw new NetlinkError(operation, EIO, 'the answer names no outgoing link');
    const mtu = route.mtu ?? this.#links.get(route.index)?.mtu ?? 0;
    return { ...route, index: route.index, mtu };
  }

  #put(flags: number, route: RouteSpec): void {
    const operation = `RTM_NEWROUTE ${route.destination}`;
    this.#connection.request({ type: RTM_NEWROUTE, flags, payload: encodeRoute(route), operation });
  }
}
