/**
 * discovery: names for the containers of this host.
 *
 * It owns the DNS server at 127.0.0.11 in each container's namespace and gossip's `endpoint_table`: it publishes the
 * endpoints of this host, keeps a table of all names on the networks that exist here, answers from it with authority,
 * and forwards the rest. In a container's namespace it has two sockets and the nft table `skein-dns`; links, addresses
 * and namespaces are the overlay room's.
 */
export { createDiscovery, type DiscoveryOptions } from './discovery.ts';
export {
  formatResolvConf,
  type HostsFile,
  hostsFile,
  hostsLines,
  parseResolvConf,
  type ResolvConf,
  resolvConf,
  resolverAddress,
} from './files.ts';
export type * from './types.ts';
