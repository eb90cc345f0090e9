/** scheduler: chooses a node for each task that has its addresses. Reads nodes and tasks; writes tasks' node and state. */
export { Scheduler } from './scheduler.ts';
