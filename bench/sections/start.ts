/** From the creation of a service to all its tasks running, and from its removal to no container of it. */

import type { Contestant } from '../contestants.ts';
import type { Swarm } from '../stage/swarm.ts';
import type { Bench, Section } from '../types.ts';

const network = 'bench-start';
/** The larger number is started so often at most. */
const roundsOfMany = 2;
const few = 1;
const many = 50;

export const start: Section = {
  name: 'start',
  title: 'services from creation to running, and from removal to nothing',
  budgetSeconds: 120,
  measures: Object.fromEntries(
    [few, many].flatMap((tasks) =>
      [true, false].flatMap((overlay) =>
        ['running', 'removed'].map((state) => {
          const title = `${tasks} ${tasks === 1 ? 'task' : 'tasks'} ${state}, ${overlay ? 'overlay' : 'no network'}`;
          return [measureOf(state, tasks, overlay), { title, unit: 's', better: 'lower' as const }];
        }),
      ),
    ),
  ),
  async run(bench) {
    const swarms: Swarm[] = [];
    for (const engine of bench.stage.engines) {
      await bench.attempt(`hosts of ${engine}`, async () => {
        const swarm = await bench.stage.swarm(engine);
        await swarm.createNetwork(network);
        swarms.push(swarm);
      });
    }
    for (const [tasks, rounds] of [
      [few, undefined],
      [many, roundsOfMany],
    ] as const) {
      for (const round of bench.rounds(rounds)) {
        for (const overlay of [true, false]) {
          for (const swarm of swarms) await startAndRemove(bench, swarm, tasks, overlay, round);
        }
      }
    }
    for (const swarm of swarms) {
      await bench.attempt(`removing the network of ${swarm.contestant}`, () => swarm.removeNetwork(network));
    }
  },
};

function measureOf(state: string, tasks: number, overlay: boolean): string {
  return `start.${tasks}.${overlay ? 'overlay' : 'none'}.${state}`;
}

async function startAndRemove(
  bench: Bench,
  swarm: Swarm,
  tasks: number,
  overlay: boolean,
  round: number,
): Promise<void> {
  const name = `many-${tasks}-${overlay ? 'overlay' : 'none'}-${round}`;
  const isDone = await bench.attempt(`${tasks} tasks of ${swarm.contestant}`, async () => {
    const wish = { name, replicas: tasks, ...(overlay ? { network } : {}) };
    await timed(bench, swarm.contestant, measureOf('running', tasks, overlay), async () => {
      await swarm.createService(wish);
      await swarm.running(name, tasks);
    });
    await timed(bench, swarm.contestant, measureOf('removed', tasks, overlay), async () => {
      await swarm.removeService(name);
      await swarm.gone(name);
    });
  });
  // What is left would be in the way of the next one; there may be nothing.
  if (!isDone) await swarm.removeService(name).catch(() => undefined);
}

/** Records how long an action takes, in seconds. */
export async function timed(
  bench: Bench,
  contestant: Contestant,
  measure: string,
  action: () => Promise<void>,
): Promise<void> {
  const begin = performance.now();
  await action();
  const seconds = (performance.now() - begin) / 1000;
  bench.record(measure, contestant, seconds);
  bench.say(`${measure} ${contestant}: ${seconds.toFixed(2)} s`);
}
