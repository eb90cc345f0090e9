import type { NetworkNamespace } from '../namespace.ts';
import { Addresses } from './addresses.ts';
import { NetlinkConnection } from './connection.ts';
import { Fdb } from './fdb.ts';
import { Links } from './links.ts';
import { Neighbours } from './neighbours.ts';
import { Routes } from './routes.ts';
import { Rules } from './rules.ts';

/**
 * An rtnetlink connection: the links, addresses, routes, rules, neighbours and forwarding databases of one network
 * namespace. It stays bound to the namespace in which it was opened, wherever the process goes.
 */
export class RouteSocket implements Disposable {
  readonly links: Links;
  readonly addresses: Addresses;
  readonly routes: Routes;
  readonly rules: Rules;
  readonly neighbours: Neighbours;
  readonly fdb: Fdb;
  readonly #connection: NetlinkConnection;

  private constructor(connection: NetlinkConnection) {
    this.#connection = connection;
    this.links = new Links(connection);
    this.addresses = new Addresses(connection);
    this.routes = new Routes(connection);
    this.rules = new Rules(connection);
    this.neighbours = new Neighbours(connection);
    this.fdb = new Fdb(connection);
  }

  /** Opens a connection in `namespace`, by default the calling thread's own. */
  static open(namespace?: NetworkNamespace): RouteSocket {
    return new RouteSocket(NetlinkConnection.open(namespace));
  }

  /** Closes the connection. Safe to repeat. */
  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]();
  }
}
