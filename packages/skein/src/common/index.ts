/** common: what every room may use — errors, identifiers, time, the logger, the event bus. Knows no room. */
export { type Clock, delay, longestTimeoutMs, systemClock, type Timer } from './clock.ts';
export { type ErrorCode, errorText, RpcError, SkeinError } from './errors.ts';
export { type EngineEvent, EventBus } from './events.ts';
export { newHexId, newObjectId, objectIdLength } from './identifiers.ts';
export { KeyedQueue } from './keyed-queue.ts';
export { createLogger, type Logger, silentLogger } from './logger.ts';
export { madeUpName } from './made-up-names.ts';
export { uniqueLocalSubnets } from './unique-local.ts';
