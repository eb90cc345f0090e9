/**
 * server: the manager's gRPC port — TLS, who may call what, and the small services. Puts ca, dispatcher and logbroker on
 * the wire; decides nothing about services or tasks.
 */
export { type ManagerServer, type ManagerServerOptions, startManagerServer } from './server.ts';
