/** Tables scoped to networks, on memberlist: what libnetwork calls networkdb. */
export { type GossipCodec, type GossipMessage, protobufCodec } from './codec.ts';
export { type NetworkDBConfig, networkDBConfig } from './config.ts';
export { GOSSIP_PORT, NetworkDB } from './networkdb.ts';
export { NetworkDBError, type NetworkDBOptions, type NetworkDBStats, type PeerInfo } from './options.ts';
export type { DeleteReason, TableChange, WatchHandler } from './watch.ts';
