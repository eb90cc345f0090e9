/** The bytes of memberlist: messages, packets, frames, keys. Pure functions; no sockets, no timers. */
export * from './address.ts';
export { ENCRYPTION_OVERHEAD } from './crypt.ts';
export * from './errors.ts';
export * from './keyring.ts';
export * from './messages.ts';
export * from './packet.ts';
export * from './stream.ts';
