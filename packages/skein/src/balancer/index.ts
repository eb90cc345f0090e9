/**
 * balancer: who of a service's tasks gets a connection.
 *
 * It owns the nft table `skein` in containers' namespaces and at the routing mesh's entrance, and `skein-ports` in the
 * host's; the flows that these have translated; and the sockets that hold published ports. It makes neither namespaces
 * nor links, and touches no other table. Why so and not
 * with IPVS: docs/adr/0007-load-balancing.md.
 */
export { createLoadBalancer, type LoadBalancerOptions } from './balancer.ts';
export type { ConnectTimeMode, ConnectTimeOptions } from './connect-time/index.ts';
export { forgetFlows, forgetUntranslated } from './flows.ts';
export { anyAddress, anyIpv6Address } from './port-place.ts';
export { PortHeldError, Reservations } from './reservations.ts';
export type * from './types.ts';
