/** How long the Engine API takes to list and to inspect when there are many tasks. */
import type { Swarm } from '../stage/swarm.ts';
import type { Bench, Section } from '../types.ts';

const service = 'nowhere';
const tasks = 1000;
/** Requests of each kind in a round. */
const requests = 10;

export const api: Section = {
  name: 'api',
  title: `the Engine API at ${tasks} tasks`,
  budgetSeconds: 40,
  measures: {
    'api.tasks': { title: `list ${tasks} tasks`, unit: 'ms', better: 'lower' },
    'api.task': { title: `inspect a task of ${tasks}`, unit: 'ms', better: 'lower' },
    'api.services': { title: `list services with their status, ${tasks} tasks`, unit: 'ms', better: 'lower' },
    'api.service': { title: `inspect a service of ${tasks} tasks`, unit: 'ms', better: 'lower' },
  },
  async run(bench) {
    const swarms: { swarm: Swarm; task: string }[] = [];
    for (const engine of bench.stage.engines) {
      await bench.attempt(`${tasks} tasks of ${engine}`, async () => {
        const swarm = await bench.stage.swarm(engine);
        swarms.push({ swarm, task: await createTasks(swarm) });
      });
    }
    for (const _round of bench.rounds()) {
      for (const { swarm, task } of swarms) {
        await bench.attempt(`requests to ${swarm.contestant}`, async () => {
          await time(bench, swarm, 'api.tasks', '/tasks');
          await time(bench, swarm, 'api.task', `/tasks/${task}`);
          await time(bench, swarm, 'api.services', '/services?status=true');
          await time(bench, swarm, 'api.service', `/services/${service}`);
        });
      }
    }
    for (const { swarm } of swarms) {
      await bench.attempt(`removing the tasks of ${swarm.contestant}`, async () => {
        const { ID: id } = await swarm.call<{ ID: string }>('node1', 'GET', `/services/${service}`);
        await swarm.removeService(service);
        await swarm.until('the tasks are gone', async () => {
          const left = await swarm.call<{ ServiceID: string }[]>('node1', 'GET', '/tasks');
          return left.every(({ ServiceID }) => ServiceID !== id);
        });
      });
    }
  },
};

const listTasks = (swarm: Swarm): Promise<{ ID: string }[]> =>
  swarm.call('node1', 'GET', `/tasks?filters=${encodeURIComponent(JSON.stringify({ service: [service] }))}`);

/** No node has the label that the tasks want: they stay pending. @returns the ID of one. */
async function createTasks(swarm: Swarm): Promise<string> {
  await swarm.createService({ name: service, replicas: tasks, constraints: ['node.labels.bench==nowhere'] });
  await swarm.until(`${tasks} tasks are there`, async () => (await listTasks(swarm)).length === tasks);
  return (await listTasks(swarm))[tasks / 2]?.ID ?? '';
}

async function time(bench: Bench, swarm: Swarm, measure: string, path: string): Promise<void> {
  for (let request = 0; request < requests; request++) {
    const begin = performance.now();
    await swarm.call('node1', 'GET', path);
    bench.record(measure, swarm.contestant, performance.now() - begin);
  }
}
