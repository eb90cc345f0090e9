import type { Task } from '../../gen/objects_pb.js';
import { spreadValue } from '../constraints.ts';
import { type FilterContext, filters } from './filters.ts';
import type { NodeLoad } from './node-load.ts';

/** A node on which a service failed this often lately gets its tasks last (swarmkit manager/scheduler: maxFailures). */
const maxRecentFailures = 5;

/** Where a task goes, or why nowhere: `no suitable node (…)`. */
export type Choice = { readonly load: NodeLoad } | { readonly reason: string };

/**
 * Chooses a node for a task: of those that pass all filters, spread over the placement preferences, the one with the
 * fewest tasks of the service, then the fewest tasks, then the most free resources.
 */
export function chooseNode(task: Task, candidates: readonly NodeLoad[], context: FilterContext): Choice {
  const failures = filters.map(() => 0);
  const suitable = candidates.filter((load) => {
    const failed = filters.findIndex((filter) => !filter.passes(task, load, context));
    if (failed >= 0) failures[failed] = (failures[failed] ?? 0) + 1;
    return failed < 0;
  });
  const best = spread(task, suitable).reduce<NodeLoad | undefined>(
    (chosen, load) => (chosen && compare(task, chosen, load) <= 0 ? chosen : load),
    undefined,
  );
  return best ? { load: best } : { reason: explain(failures) };
}

/** The filters' explanations, the one that turned most nodes away first. */
function explain(failures: readonly number[]): string {
  const explanations = filters
    .map((filter, index) => ({ count: failures[index] ?? 0, filter }))
    .filter(({ count }) => count > 0)
    .sort((a, b) => b.count - a.count)
    .map(({ count, filter }) => filter.explain(count));
  return explanations.length > 0 ? `no suitable node (${explanations.join('; ')})` : 'no suitable node';
}

/** Narrows the nodes down, preference by preference, to those whose value has the fewest tasks of the service. */
function spread(task: Task, suitable: readonly NodeLoad[]): readonly NodeLoad[] {
  let chosen = suitable;
  for (const { spread: over } of task.spec?.placement?.preferences ?? []) {
    if (!over) continue;
    const groups = Map.groupBy(chosen, ({ node }) => spreadValue(node, over.spreadDescriptor));
    const tasks = (group: readonly NodeLoad[]) => group.reduce((sum, load) => sum + load.tasksOf(task.serviceId), 0);
    chosen = [...groups.values()].reduce(
      (best, group) => (tasks(group) < tasks(best) ? group : best),
      chosen.length ? ([...groups.values()][0] ?? []) : [],
    );
  }
  return chosen;
}

/** @returns a negative number when node `a` is the better place. */
function compare(task: Task, a: NodeLoad, b: NodeLoad): number {
  const failures = (load: NodeLoad) => {
    const count = load.recentFailures(task.serviceId);
    return count >= maxRecentFailures ? count : 0;
  };
  return (
    failures(a) - failures(b) ||
    a.tasksOf(task.serviceId) - b.tasksOf(task.serviceId) ||
    a.total - b.total ||
    Number(b.nanoCpus - a.nanoCpus) ||
    Number(b.memoryBytes - a.memoryBytes)
  );
}
