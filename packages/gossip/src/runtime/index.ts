/** The surroundings that the protocols are given: time, chance, a log, counters. Knows nothing of gossip. */
export * from './clock.ts';
export * from './collections.ts';
export * from './counters.ts';
export * from './logger.ts';
export * from './novelty.ts';
export * from './random.ts';
