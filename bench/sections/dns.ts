/** The embedded DNS server, asked from inside a container. */

import { trafficCpu } from '../probe.ts';
import { cpuSeconds } from '../stage/processes.ts';
import type { Member, Swarm } from '../stage/swarm.ts';
import type { Bench, Section } from '../types.ts';

const network = 'bench-dns';
const service = 'names';
/** Queries on the way at a time when the rate is measured. */
const outstanding = 64;
/** How long each measurement lasts. */
const askingSeconds = 1;
/** More queries than this share without an answer, and the rate says nothing. */
const bearableLoss = 0.01;

export const dns: Section = {
  name: 'dns',
  title: 'queries to 127.0.0.11 from a container',
  budgetSeconds: 40,
  measures: {
    'dns.rate': { title: `DNS queries, ${outstanding} outstanding`, unit: '1/s', better: 'higher' },
    'dns.core': { title: "DNS queries per second of the daemon's CPU time", unit: '1/s', better: 'higher' },
    'dns.p50': { title: 'DNS latency, p50', unit: 'ms', better: 'lower' },
    'dns.p99': { title: 'DNS latency, p99', unit: 'ms', better: 'lower' },
  },
  async run(bench) {
    const clients: { swarm: Swarm; member: Member }[] = [];
    for (const engine of bench.stage.engines) {
      await bench.attempt(`a container of ${engine}`, async () => {
        const swarm = await bench.stage.swarm(engine);
        await swarm.createNetwork(network);
        await swarm.createService({ name: service, network });
        await swarm.running(service, swarm.hosts.length);
        const [member] = await swarm.members('node1', service, network);
        if (member === undefined) throw new Error('no container on node1');
        clients.push({ swarm, member });
      });
    }
    for (const _round of bench.rounds()) {
      for (const { swarm, member } of clients) {
        await bench.attempt(`queries to ${swarm.contestant}`, () => ask(bench, swarm, member));
      }
    }
    for (const { swarm } of clients) {
      await bench.attempt(`removing the containers of ${swarm.contestant}`, async () => {
        await swarm.removeService(service);
        await swarm.gone(service);
        await swarm.removeNetwork(network);
      });
    }
  },
};

/** The client has a CPU of its own, so that the daemon has the other. */
async function ask(bench: Bench, swarm: Swarm, member: Member): Promise<void> {
  const name = `tasks.${service}`;
  const seconds = askingSeconds;
  const pid = swarm.pid('node1');
  const before = cpuSeconds(pid);
  const load = await bench.probe.run(member, 'dns', name, seconds, outstanding, trafficCpu);
  const used = cpuSeconds(pid) - before;
  const { count = 0, seconds: taken = 0, empty = 0, lost = 0 } = load;
  if (empty > 0) throw new Error(`${empty} of ${count} answers had no address`);
  if (lost > bearableLoss * count) throw new Error(`${lost} queries without an answer beside ${count} with one`);
  bench.record('dns.rate', swarm.contestant, count / taken);
  bench.record('dns.core', swarm.contestant, count / used);
  const { p50Us = 0, p99Us = 0 } = await bench.probe.run(member, 'dns', name, seconds, 1, trafficCpu);
  bench.record('dns.p50', swarm.contestant, p50Us / 1000);
  bench.record('dns.p99', swarm.contestant, p99Us / 1000);
}
