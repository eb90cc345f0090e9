/**
 * orchestrator: keeps as many tasks of each service as its spec asks for. Decides which tasks there are and what is
 * wanted of them (`desired_state`), never where they run. Each service is reconciled from what the store says, in one
 * transaction: bring down what cannot run, scale, roll the next tasks over to a new spec, release what was held back.
 */
export { Orchestrator } from './orchestrator.ts';
export { OrphanKeeper, orphanTasks } from './orphans.ts';
export { TaskReaper } from './reaper.ts';
