/**
 * Connections to a virtual IP beside direct ones, with few and many services: led by nft, and (as "Skein with flags") at
 * connect time where the kernel can. The balancer is driven directly, in
 * namespaces on one bridge: ten thousand services need no ten thousand tasks. dockerd needs IPVS, which kernels like
 * the one of our measurements lack.
 */
import { RouteSocket } from '@skein/netlink';
import { createLoadBalancer } from '../../packages/skein/src/balancer/index.ts';
import { networkId, TestCgroup, TestSegment, ToldGossip } from '../../packages/skein/src/balancer/testing.ts';
import { silentLogger } from '../../packages/skein/src/common/index.ts';
import type { Contestant } from '../contestants.ts';
import { type Place, trafficCpu, turns } from '../probe.ts';
import type { Bench, Measure, Section } from '../types.ts';

const sizes = [1, 100, 10_000];
const transactions = { rr: 'TCP_RR', crr: 'TCP_CRR' } as const;
const task = '10.88.0.11';
/** Virtual IPs and the tasks of the other services; nobody has these addresses. */
const virtualIp = (index: number): string => `10.89.${index >> 8}.${index & 255}`;
const otherTask = (index: number): string => `10.90.${index >> 8}.${index & 255}`;
const subnet = '10.88.0.0/14';

export const vip: Section = {
  name: 'vip',
  title: 'virtual IPs beside direct connections',
  budgetSeconds: 75,
  measures: Object.fromEntries(
    sizes.flatMap((size): [string, Measure][] => {
      const services = `${size.toLocaleString('en')} ${size === 1 ? 'service' : 'services'}`;
      const rates = Object.entries(transactions).flatMap(([key, name]) => [
        ...rows(`vip.${key}.${size}`, `${name} to a virtual IP, ${services}`),
        ...rows(`direct.${key}.${size}`, `${name} to the task itself from the same container, ${services}`),
      ]);
      return [
        ...rates,
        [`vip.program.${size}`, { title: `program ${services} in a container`, unit: 'ms', better: 'lower' }],
      ];
    }),
  ),
  async run(bench) {
    await using segment = new TestSegment('bench');
    segment.add('task', task);
    segment.add('plain', '10.88.0.6');
    segment.alone('host');
    await using server = await serve(bench, segment);
    using cgroups = new DisposableStack();
    /** Service number → cgroup of processes that are led at connect time; each has programs of its own. */
    const cgroupOf = new Map(
      sizes.flatMap((size) => {
        const cgroup = TestCgroup.create(ledClientOf(size));
        if (cgroup === undefined) return [];
        cgroups.use(cgroup).leave();
        return [[size, cgroup.path] as const];
      }),
    );
    for (const size of sizes) {
      await bench.attempt(`${size} services`, () => addClient(bench, segment, size));
      const cgroup = cgroupOf.get(size);
      if (cgroup !== undefined) {
        await bench.attempt(`${size} services at connect time`, () => addClient(bench, segment, size, cgroup));
      }
    }
    for (const _round of bench.rounds()) {
      for (const size of sizes) {
        for (const transaction of Object.keys(transactions) as (keyof typeof transactions)[]) {
          const run = (kind: 'vip' | 'direct', contestant: Contestant, place: Place): Promise<boolean> =>
            bench.attempt(`${transactions[transaction]}, ${size} services`, () =>
              measure(bench, `${kind}.${transaction}.${size}`, contestant, place, transaction, server.pid),
            );
          const place = (from: string, address: string, cgroup?: string): Place => ({
            namespace: segment.path(from),
            address,
            cgroup,
          });
          const measured = virtualIp(Math.floor(size / 2));
          const cgroup = cgroupOf.get(size);
          const own = cgroup === undefined ? clientOf(size) : ledClientOf(size);
          for (let turn = 1; turn <= turns; turn++) {
            await run('vip', 'bare', place('plain', task));
            await run('direct', 'skein', place(own, task, cgroup));
            await run('vip', 'skein', place(own, measured, cgroup));
            if (cgroup !== undefined) await run('vip', 'skein-variant', place(clientOf(size), measured));
          }
        }
      }
    }
  },
};

/** Where connections can be led when they are made they are, by default, and nft is the variant. */
const byNft: Contestant = TestCgroup.root === undefined ? 'skein' : 'skein-variant';
/** Short: it becomes part of an interface's name. */
const clientOf = (size: number): string => `with${size}`;
/** Its own namespace: tracked flows that nft has led would be in the way of the same ports' next ones. */
const ledClientOf = (size: number): string => `led${size}`;

async function serve(bench: Bench, segment: TestSegment): Promise<AsyncDisposable & { pid: number }> {
  const server = await bench.probe.serve({ namespace: segment.path('task') }, trafficCpu);
  return { pid: server.pid, [Symbol.asyncDispose]: () => server.stop() };
}

/** A namespace with so many services; the one that is measured is in the middle. The rules outlive the balancer. */
async function addClient(bench: Bench, segment: TestSegment, size: number, cgroup?: string): Promise<void> {
  const name = cgroup === undefined ? clientOf(size) : ledClientOf(size);
  const address = `10.88.0.${(cgroup === undefined ? 100 : 200) + sizes.indexOf(size)}`;
  using route = RouteSocket.open(segment.add(name, address));
  route.routes.replace({ destination: subnet, index: route.links.get('eth0')?.index ?? 0 });
  const logger = silentLogger();
  const connectTime = { mode: 'auto', cgroup } as const;
  await using balancer = createLoadBalancer({ logger, hostNamespace: segment.get('host'), connectTime });
  const gossip = new ToldGossip();
  balancer.joinCluster(gossip.asNetworkDB());
  for (let index = 0; index < size; index++) {
    const isMeasured = index === Math.floor(size / 2);
    const service = { serviceId: `service${index}`, serviceName: `service${index}`, virtualIp: virtualIp(index) };
    gossip.tell(isMeasured ? task : otherTask(index), service);
  }
  const begin = performance.now();
  balancer.attach({
    containerId: name,
    networkNamespace: segment.path(name),
    networks: [{ id: networkId, subnets: [subnet] }],
  });
  bench.record(`vip.program.${size}`, cgroup === undefined ? byNft : 'skein', performance.now() - begin);
}

async function measure(
  bench: Bench,
  id: string,
  contestant: Contestant,
  place: Place,
  word: string,
  server: number,
): Promise<void> {
  const report = await bench.probe.run(place, word, place.address, bench.options.seconds, trafficCpu, server);
  const { count = 0, seconds = 0, cpuNs = 0 } = report;
  bench.record(id, contestant, count / seconds);
  bench.record(`${id}.cpu`, contestant, cpuNs / count / 1000);
}

function rows(id: string, title: string): [string, Measure][] {
  return [
    [id, { title, unit: '1/s', better: 'higher' }],
    [`${id}.cpu`, { title: `${title}, CPU`, unit: 'µs each', better: 'lower' }],
  ];
}
