import { randomBytes, randomInt } from 'node:crypto';
import { clone, create } from '@bufbuild/protobuf';
import { type Cluster, ClusterSchema } from '../gen/objects_pb.js';
import { type EncryptionKey, EncryptionKey_Algorithm, EncryptionKeySchema } from '../gen/types_pb.js';
import type { LoopContext, LoopTask } from './loop.ts';

/** What the keys are for (swarmkit manager/keymanager): memberlist, and encrypted overlay networks. */
const subsystems = ['networking:gossip', 'networking:ipsec'] as const;
const keyBytes = 16;
/** The previous, the current and the next key; dockerd accepts no other number. */
const keysPerSubsystem = 3;
const rotationIntervalMs = 12 * 3_600_000;
/** The clock starts at a random time below this, so that two clusters' keys are not mistaken for each other. */
const lamportSkew = 65_536;

function newKey(subsystem: string, lamportTime: bigint): EncryptionKey {
  const key = randomBytes(keyBytes);
  return create(EncryptionKeySchema, { subsystem, algorithm: EncryptionKey_Algorithm.AES_128_GCM, key, lamportTime });
}

/** Gives a new cluster its three keys per subsystem. */
export function createBootstrapKeys(cluster: Cluster): void {
  let clock = BigInt(randomInt(lamportSkew));
  cluster.networkBootstrapKeys = subsystems.flatMap((subsystem) =>
    Array.from({ length: keysPerSubsystem }, () => newKey(subsystem, ++clock)),
  );
  cluster.encryptionKeyLamportClock = clock;
}

/** In each subsystem the oldest key goes and a new one comes; the second-oldest is the one that encrypts. */
export function rotateKeys(cluster: Cluster): void {
  let clock = cluster.encryptionKeyLamportClock;
  cluster.networkBootstrapKeys = subsystems.flatMap((subsystem) => {
    const keys = cluster.networkBootstrapKeys
      .filter((key) => key.subsystem === subsystem)
      .sort((a, b) => Number(a.lamportTime - b.lamportTime));
    while (keys.length < keysPerSubsystem - 1) keys.push(newKey(subsystem, ++clock));
    return [...keys.slice(1 - keysPerSubsystem), newKey(subsystem, ++clock)];
  });
  cluster.encryptionKeyLamportClock = clock;
}

/** The loop that rotates the keys every twelve hours after the manager's start. */
export class KeyManager implements LoopTask {
  readonly name = 'key manager';
  readonly #context: LoopContext;
  #next: number;

  constructor(context: LoopContext) {
    this.#context = context;
    this.#next = context.clock.now() + rotationIntervalMs;
  }

  notice(): boolean {
    return false;
  }

  run(): number {
    const now = this.#context.clock.now();
    if (now < this.#next) return this.#next;
    this.#context.store.update((tx) => {
      for (const stored of tx.list('cluster')) {
        const cluster = clone(ClusterSchema, stored);
        rotateKeys(cluster);
        tx.update('cluster', cluster);
      }
    });
    this.#next = now + rotationIntervalMs;
    return this.#next;
  }
}
