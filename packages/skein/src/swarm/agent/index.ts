/**
 * agent: a host's side of the swarm. Owns the session with a manager, the assigned tasks' state machines and what is
 * remembered of them. Containers and networks belong to the executor behind `types.ts`.
 */
export { Agent, type AgentOptions, type AgentStatus } from './agent.ts';
export type { KnownManager } from './managers.ts';
export * from './types.ts';
