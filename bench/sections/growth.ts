/**
 * What more nodes, networks and endpoints cost, in one process and without an engine: the real gossip on a simulated
 * network and clock, the real manager with pretended agents, the overlay driver on one namespaced host. Costs are CPU
 * time, so that they show what grows faster than its work on a machine with other work as well.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { create, toBinary } from '@bufbuild/protobuf';
import { NetworkNamespace, RouteSocket } from '@skein/netlink';
import { SimulatedCluster, type SimulatedNode } from '../../packages/gossip/src/simulation/index.ts';
import { EndpointRecordSchema } from '../../packages/skein/src/discovery/gen/agent_pb.js';
import { NameTable } from '../../packages/skein/src/discovery/names.ts';
import { PeerRecordSchema } from '../../packages/skein/src/overlay/gen/overlay_pb.js';
import { networkNamespaceName } from '../../packages/skein/src/overlay/names.ts';
import { TestUnderlay, testNetwork, testSandbox } from '../../packages/skein/src/overlay/testing.ts';
import { serviceSpec, TestCluster } from '../../packages/skein/src/swarm/manager/testing/cluster.ts';
import type { Bench, Measure, Section } from '../types.ts';

/** The simulated clusters: each node has its share of the endpoints, on a few of as many networks as there are nodes. */
const clusterSizes = [20, 200] as const;
const endpointsPerNode = 50;
const networksPerNode = 5;
const endpointCounts = [100, 1000, 10_000] as const;
const table = 'endpoint_table';
const second = 1000;
const formLimitMs = 120 * second;
const spreadLimitMs = 60 * second;
const spreadStepMs = 50;
const restSeconds = 15;
/** Changes of peers are programmed together, a few milliseconds after the first. */
const programmedAfterMs = 500;
/** Peers and names that come one at a time, when all others are there. */
const oneByOne = 5;
/** About as long as an encoded record of a task. */
const recordBytes = 200;
/** No periodic pass comes between. */
const hourMs = 3_600_000;

const lower = (title: string, unit: string): Measure => ({ title, unit, better: 'lower' });

export const growth: Section = {
  name: 'growth',
  title: 'what grows with nodes, networks and endpoints',
  budgetSeconds: 90,
  onRequest: true,
  measures: Object.fromEntries([
    ...clusterSizes.flatMap((nodes): [string, Measure][] => [
      [`growth.gossip.bytes.${nodes}`, lower(`gossip at rest, ${nodes} nodes`, 'B/s per node')],
      [`growth.gossip.cpu.${nodes}`, lower(`gossip at rest, ${nodes} nodes, CPU`, 'ms/s per node')],
      [`growth.gossip.spread.${nodes}`, lower(`a record known to all of its network, ${nodes} nodes`, 's')],
    ]),
    ...endpointCounts.flatMap((count): [string, Measure][] => {
      const endpoints = `${count.toLocaleString('en')} endpoints`;
      return [
        [`growth.manager.${count}`, lower(`manager: a task from creation to running, ${endpoints}`, 'µs CPU each')],
        [`growth.peers.${count}`, lower(`overlay: peers of one network, ${endpoints}`, 'µs CPU each')],
        [`growth.peers.one.${count}`, lower(`overlay: one more peer, ${endpoints}`, 'ms CPU')],
        [`growth.names.${count}`, lower(`discovery: names of one network, ${endpoints}`, 'µs CPU each')],
        [`growth.names.one.${count}`, lower(`discovery: one more name, ${endpoints}`, 'ms CPU')],
      ];
    }),
  ]),
  async run(bench) {
    for (const nodes of clusterSizes) await bench.attempt(`gossip of ${nodes} nodes`, () => gossip(bench, nodes));
    for (const count of endpointCounts) {
      await bench.attempt(`a manager of ${count} tasks`, () => manager(bench, count));
      await bench.attempt(`${count} peers`, () => peers(bench, count));
      await bench.attempt(`${count} names`, () => names(bench, count));
    }
  },
};

/** @returns CPU time of this process since `begin`, in microseconds. */
function cpuSince(begin: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(begin);
  return user + system;
}

async function gossip(bench: Bench, count: number): Promise<void> {
  await using cluster = new SimulatedCluster(count, 'bytes');
  const { clock, nodes, network } = cluster;
  for (let index = 0; index < count; index++) await cluster.add(index);
  for (const { db } of nodes) void db.bootstrap([cluster.addressOf(0).host]);
  await clock.advance(second);
  const networksOf = (index: number): string[] =>
    Array.from({ length: networksPerNode }, (_, place) => `network-${(index + place * 7) % count}`);
  for (const [index, { db }] of nodes.entries()) {
    for (const id of networksOf(index)) void db.joinNetwork(id);
    for (let endpoint = 0; endpoint < endpointsPerNode; endpoint++) {
      const id = networksOf(index)[endpoint % networksPerNode] ?? '';
      db.createEntry(table, id, `endpoint-${index}-${endpoint}`, Buffer.alloc(recordBytes, index));
    }
  }
  const complete = (endpointsPerNode / networksPerNode) * networksPerNode;
  const sees = ({ db }: SimulatedNode, id: string): number => [...db.entries(table, id)].length;
  const isFormed = (): boolean =>
    nodes.every((node, index) => networksOf(index).every((id) => sees(node, id) === complete));
  if (!(await clock.until(isFormed, formLimitMs))) throw new Error('the cluster did not come to agree');
  // The queues of the beginning are to be empty.
  await clock.advance(restSeconds * second);

  const sentBefore = network.bytes;
  const begin = process.cpuUsage();
  await clock.advance(restSeconds * second);
  const perNodeAndSecond = 1 / count / restSeconds;
  bench.record(`growth.gossip.cpu.${count}`, 'skein', (cpuSince(begin) / 1000) * perNodeAndSecond);
  bench.record(`growth.gossip.bytes.${count}`, 'skein', (network.bytes - sentBefore) * perNodeAndSecond);

  const [first] = nodes;
  const id = networksOf(0)[0] ?? '';
  first?.db.createEntry(table, id, 'the-new-one', Buffer.alloc(recordBytes));
  const told = nodes.filter((_, index) => networksOf(index).includes(id));
  const created = clock.now();
  const isKnown = (): boolean => told.every((node) => sees(node, id) === complete + 1);
  if (!(await clock.until(isKnown, spreadLimitMs, spreadStepMs))) throw new Error('a record did not come to all');
  bench.record(`growth.gossip.spread.${count}`, 'skein', (clock.now() - created) / second);
}

/** Services of a hundred tasks each, on an overlay each, on a hundred nodes. */
async function manager(bench: Bench, count: number): Promise<void> {
  const tasksPerService = 100;
  await using cluster = new TestCluster();
  for (let index = 2; index <= tasksPerService; index++) cluster.addNode(`n${index}`);
  const begin = process.cpuUsage();
  for (let service = 0; service < count / tasksPerService; service++) {
    const networks = [cluster.createNetwork(`net${service}`)];
    cluster.control.createService(serviceSpec(`service${service}`, { networks, replicas: tasksPerService }));
    cluster.run(second, second / 2);
  }
  const running = cluster.running().length;
  if (running !== count) throw new Error(`${running} of ${count} tasks run`);
  bench.record(`growth.manager.${count}`, 'skein', cpuSince(begin) / count);
}

/** One host with a container on a network; the others are only told of. */
async function peers(bench: Bench, count: number): Promise<void> {
  await using underlay = new TestUnderlay(`growth-${count}`, 1500, 'off', hourMs);
  const host = await underlay.addHost();
  const network = testNetwork(1, { subnets: [{ subnet: '10.80.0.0/16', gateway: '10.80.0.1', vni: 4096 }] });
  const other = underlay.gossip.node('other', '192.0.2.99');
  const endpoints = [{ network, address: '10.80.0.3/16', aliases: [] }];
  await host.driver.createSandbox({ ...testSandbox('aa', 3, []), endpoints });
  const value = (index: number): Uint8Array => {
    const [high, low] = [(index >> 8) + 1, index & 255];
    const hex = (byte: number): string => byte.toString(16).padStart(2, '0');
    const record = create(PeerRecordSchema, {
      endpointIp: `10.80.${high}.${low}/16`,
      endpointMac: `02:42:0a:50:${hex(high)}:${hex(low)}`,
      tunnelEndpointIp: '192.0.2.99',
    });
    return toBinary(PeerRecordSchema, record);
  };
  const values = Array.from({ length: count + oneByOne }, (_, index) => value(index));
  const costOf = async (from: number, to: number): Promise<number> => {
    const begin = process.cpuUsage();
    for (const [index, record] of values.slice(from, to).entries()) {
      other.createEntry('overlay_peer_table', network.id, `peer${from + index}`, record);
    }
    await sleep(programmedAfterMs);
    return cpuSince(begin);
  };
  bench.record(`growth.peers.${count}`, 'skein', (await costOf(0, count)) / count);
  // What many left behind is collected first.
  await sleep(second);
  for (let more = count; more < count + oneByOne; more++) {
    bench.record(`growth.peers.one.${count}`, 'skein', (await costOf(more, more + 1)) / 1000);
  }
  const rows = tunnelRows(`${host.namespaceDirectory}/${networkNamespaceName(network.id)}`);
  if (rows !== count + oneByOne) throw new Error(`${rows} rows for ${count + oneByOne} peers`);
}

/** @returns how many forwarding rows lead to other hosts. */
function tunnelRows(sandbox: string): number {
  using namespace = NetworkNamespace.open(sandbox);
  using route = RouteSocket.open(namespace);
  const index = route.links.get('vxlan0')?.index ?? 0;
  return route.fdb.list({ index }).filter(({ destination }) => destination !== undefined).length;
}

/** Tasks of services of ten tasks each, all on one network; each is looked up when all are there, and once more after a change. */
function names(bench: Bench, count: number): void {
  const tasksPerService = 10;
  const names = new NameTable();
  const nameOf = (index: number): string => `service${Math.floor(index / tasksPerService)}`;
  const add = (index: number): void => {
    const serviceName = nameOf(index);
    const endpointIp = `10.80.${(index >> 8) + 1}.${index & 255}`;
    const named = { name: `${serviceName}.${index}`, serviceName, serviceId: serviceName, endpointIp };
    names.set('network', `endpoint${index}`, create(EndpointRecordSchema, named));
  };
  const find = (index: number, wanted: number): void => {
    const found = names.addresses(`tasks.${nameOf(index)}`, [{ id: 'network', name: 'net' }])?.length;
    if (found !== wanted) throw new Error(`${found} addresses of tasks.${nameOf(index)}`);
  };
  const begin = process.cpuUsage();
  for (let index = 0; index < count; index++) add(index);
  for (let index = 0; index < count; index++) find(index, tasksPerService);
  bench.record(`growth.names.${count}`, 'skein', cpuSince(begin) / count);
  for (let more = count; more < count + oneByOne; more++) {
    const beginOfOne = process.cpuUsage();
    add(more);
    find(more, more - count + 1);
    bench.record(`growth.names.one.${count}`, 'skein', cpuSince(beginOfOne) / 1000);
  }
}
