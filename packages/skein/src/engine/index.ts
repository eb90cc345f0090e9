/**
 * engine: the Docker Engine API over HTTP. It owns the socket, the words and the JSON of Docker, and nothing else: it
 * never touches the kernel, and what it shows comes from the container, overlay and swarm rooms' contracts.
 *
 * A request's way: server.ts (sockets, errors) → router.ts (version, path) → routes/ (one file per group: checks and
 * calls) → convert/ (Docker's JSON ↔ swarmkit's messages) and views/ (what is put together from several rooms).
 */
export { startEngine } from './server.ts';
export type { Diagnosis, EngineOptions, EngineServer, HostFacts, ProductVersion } from './types.ts';
export { predefinedId } from './views/network.ts';
