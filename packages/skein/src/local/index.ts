/**
 * local: the plain containers of this host, which no task of the swarm owns, and its bridge networks.
 *
 * It puts a container (`container/`), its sandbox (`overlay/`) and its names (`discovery/`) together, as the executor does
 * for tasks; gives it places on bridges, and asks for those on the swarm's attachable networks; publishes its ports; and
 * starts it again as its restart policy says. In the host's namespace it owns the bridges of its networks and the nft
 * table `skein-local`. Everything is recorded on disk before it is made, so that a killed daemon leaves nothing unknown.
 */
export { type LocalContainersOptions, openLocalContainers } from './containers.ts';
export type * from './types.ts';
