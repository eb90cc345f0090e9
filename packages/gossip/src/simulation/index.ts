/** Clusters in one process: a virtual clock, a seeded chance, a network that loses, delays, repeats and parts. For tests only. */
export * from './byte-transport.ts';
export * from './cluster.ts';
export * from './network.ts';
export * from './object-channel.ts';
export * from './process-clock.ts';
export * from './seeded-random.ts';
export * from './virtual-clock.ts';
