/** 200 tasks on two hosts: starting them, the engine's memory, a daemon that finds them when it starts, removing them. */
import { setTimeout as sleep } from 'node:timers/promises';
import { engineMemory } from '../stage/processes.ts';
import type { Swarm } from '../stage/swarm.ts';
import type { Bench, Section } from '../types.ts';
import { timed } from './start.ts';

const network = 'bench-many';
const service = 'many';
const tasks = 200;
/** Starting leaves garbage behind, which is collected after a while. */
const settleMs = 5000;
const adoptionTimeoutMs = 90_000;

export const many: Section = {
  name: 'many',
  title: `${tasks} tasks: start, memory, adoption, removal`,
  budgetSeconds: 300,
  measures: {
    'many.running': { title: `${tasks} tasks running, overlay`, unit: 's', better: 'lower' },
    'many.removed': { title: `${tasks} tasks removed, overlay`, unit: 's', better: 'lower' },
    'memory.idle': { title: 'daemon and containerd of an idle worker, RSS', unit: 'MB', better: 'lower' },
    'memory.task': { title: 'engine and shims per container, PSS', unit: 'MB', better: 'lower' },
    'adopt.api': { title: `API answers after kill -9, ${tasks / 2} containers per host`, unit: 's', better: 'lower' },
    'adopt.tasks': { title: `all ${tasks} tasks listed as running after kill -9`, unit: 's', better: 'lower' },
  },
  async run(bench) {
    for (const engine of bench.stage.engines) {
      await bench.attempt(`${tasks} tasks of ${engine}`, async () => measure(bench, await bench.stage.swarm(engine)));
    }
  },
};

async function measure(bench: Bench, swarm: Swarm): Promise<void> {
  const idle = await bench.stage.idleMemory(swarm.contestant === 'dockerd' ? 'dockerd' : 'skein');
  bench.record('memory.idle', swarm.contestant, idle.resident);
  await swarm.createNetwork(network);
  await timed(bench, swarm.contestant, 'many.running', async () => {
    await swarm.createService({ name: service, replicas: tasks, network });
    await swarm.running(service, tasks);
  });
  await sleep(settleMs);
  const full = engineMemory(swarm.namespace('node2'));
  const containers = (await runningOn(swarm, 'node2')).length;
  bench.record('memory.task', swarm.contestant, (full.proportional - idle.proportional) / containers);
  // dockerd adopts nothing in a swarm: it ends the containers that it finds, and new tasks are started.
  if (swarm.engine === 'skeind') await bench.attempt('adoption', () => adopt(bench, swarm));
  await timed(bench, swarm.contestant, 'many.removed', async () => {
    await swarm.removeService(service);
    await swarm.gone(service);
  });
  await swarm.removeNetwork(network);
}

const runningOn = (swarm: Swarm, host: string): Promise<unknown[]> =>
  swarm.call<unknown[]>(host, 'GET', '/containers/json');

/** kill -9 of both daemons at a time, and their start. */
async function adopt(bench: Bench, swarm: Swarm): Promise<void> {
  for (const host of swarm.hosts) await swarm.killEngine(host);
  const begin = performance.now();
  await Promise.all(swarm.hosts.map((host) => swarm.startEngine(host)));
  bench.record('adopt.api', swarm.contestant, (performance.now() - begin) / 1000);
  await swarm.until(
    `${tasks} containers run again`,
    async () => {
      const found = await Promise.all(swarm.hosts.map((host) => runningOn(swarm, host)));
      return found.flat().length === tasks;
    },
    adoptionTimeoutMs,
  );
  await swarm.running(service, tasks);
  bench.record('adopt.tasks', swarm.contestant, (performance.now() - begin) / 1000);
}
