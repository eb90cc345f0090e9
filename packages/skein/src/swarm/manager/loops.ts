/**
 * The manager's loops: what makes the cluster's objects follow what users ask for. Each watches the store and writes to
 * it; none keeps anything that it cannot find there again.
 */
import { Allocator, type LocalRoute, type Quarantine } from './allocator/index.ts';
import { KeyManager } from './keymanager.ts';
import { Loop, type LoopContext } from './loop.ts';
import { Orchestrator, OrphanKeeper, TaskReaper } from './orchestrator/index.ts';
import { Scheduler } from './scheduler/index.ts';

export type { LocalRoute } from './allocator/index.ts';
export type { LoopContext } from './loop.ts';

export interface ManagerLoopsOptions extends LoopContext {
  /** What was given out last and freed lately; the control has the same. */
  readonly quarantine: Quarantine;
  /** The routes of the manager's host, which automatically chosen subnets avoid. */
  readonly localRoutes?: (() => readonly LocalRoute[]) | undefined;
}

/** Starts all loops on a store. @returns what stops them. */
export function startManagerLoops(options: ManagerLoopsOptions): AsyncDisposable {
  const tasks = [
    new Orchestrator(options),
    new Allocator(options, options.quarantine, { localRoutes: options.localRoutes }),
    new Scheduler(options, options.quarantine),
    new OrphanKeeper(options),
    new TaskReaper(options),
    new KeyManager(options),
  ];
  const loops = new AsyncDisposableStack();
  for (const task of tasks) loops.use(new Loop(options, task)).start();
  return loops;
}
