import { randomBytes } from 'node:crypto';

/** Bytes of randomness in a swarm object ID (swarmkit identity/randomid.go). */
const randomIdBytes = 17;
/** Length of every swarm object ID in characters. */
export const objectIdLength = 25;

/**
 * @returns a new ID for a swarm object (cluster, node, task, service, network, session): 17 random bytes with the
 * top bit set, printed in base 36, of which the characters 2 to 26 are kept (swarmkit identity/randomid.go).
 */
export function newObjectId(): string {
  const bytes = randomBytes(randomIdBytes);
  bytes[0] = (bytes[0] ?? 0) | 0x80;
  return BigInt(`0x${bytes.toString('hex')}`)
    .toString(36)
    .slice(1, 1 + objectIdLength);
}

/** @returns a new 64-hex-character ID, the form of Docker's container, endpoint and exec IDs. */
export function newHexId(): string {
  return randomBytes(32).toString('hex');
}
