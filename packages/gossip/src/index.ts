/**
 * @skein/gossip: memberlist (who is there) and networkdb (tables scoped to networks), wire-compatible with
 * hashicorp/memberlist and Docker's libnetwork. It stands alone: no kernel, no containers, no cluster manager.
 * Floors, each knowing only those before it: runtime, wire, transport, memberlist, networkdb.
 */
export * from './memberlist/index.ts';
export * from './networkdb/index.ts';
export {
  type Clock,
  type Logger,
  type Random,
  silentLogger,
  systemClock,
  systemRandom,
  type Timer,
} from './runtime/index.ts';
export * from './transport/index.ts';
export { type Address, formatAddress, Keyring, parseAddress, WireError, type WireErrorCode } from './wire/index.ts';
