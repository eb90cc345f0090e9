import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import type { ChannelHandler } from '../memberlist/index.ts';
import { VSN } from '../memberlist/member.ts';
import { ipToBytes, NodeState } from '../wire/index.ts';
import { SimulatedCluster, type SimulatedNetwork, type SimulatedNode } from './index.ts';

// A million member records grow up here: with a roomy nursery the collector copies them less often.
setFlagsFromString('--max-semi-space-size=64');
setFlagsFromString('--min-semi-space-size=64');

const NODES = 1_000;
const NETWORKS = 10;
const NODES_PER_NETWORK = 6;
const CUT_OFF = 6;
const TABLE = 'overlay_peer_table';
const SECOND = 1_000;

const seed = Number(process.env.GOSSIP_SEED ?? 20_26);

/** Node i is on network i mod NETWORKS, up to NODES_PER_NETWORK per network; the others are on none. */
function networkOf(index: number): string | undefined {
  return index < NETWORKS * NODES_PER_NETWORK ? `network-${index % NETWORKS}` : undefined;
}

/** Attached nodes that do not see all entries of their network. */
function incomplete(nodes: readonly SimulatedNode[]): string[] {
  return nodes.flatMap(({ db }, index) => {
    const network = networkOf(index);
    if (network === undefined) return [];
    const seen = [...db.entries(TABLE, network)].length;
    return seen === NODES_PER_NETWORK ? [] : [`${index} sees ${seen} entries of ${network}`];
  });
}

/** Nodes that do not know all others. */
function partial(nodes: readonly SimulatedNode[]): string[] {
  return nodes.flatMap(({ db }, index) => {
    const { members } = db.stats();
    return members === NODES ? [] : [`${index} knows ${members} nodes`];
  });
}

function failures(nodes: readonly SimulatedNode[]): number {
  return nodes.reduce((sum, { db }) => sum + db.stats().failures, 0);
}

/** Table events that reached a node which is not on their network. */
function misdirected(nodes: readonly SimulatedNode[]): string[] {
  return nodes.flatMap(({ db }, index) => {
    const strange = Object.keys(db.stats().tableEventsReceived).filter((id) => id !== networkOf(index));
    return strange.map((id) => `${index} got events of ${id}`);
  });
}

/** Puts a peer on the network that answers each push/pull with the complete list; returns its address. */
function listAll({ network, nodes, addressOf }: SimulatedCluster): string {
  const address = addressOf(0xffffff);
  const states = nodes.map(({ db }) => ({
    name: db.nodeName,
    addr: ipToBytes(db.address.host),
    port: db.address.port,
    meta: new Uint8Array(0),
    incarnation: 1,
    state: NodeState.alive,
    vsn: VSN,
  }));
  const state = { join: false, nodes: states, userState: new Uint8Array(0) };
  const nothing = (): undefined => undefined;
  const handler: ChannelHandler = { packet: nothing, user: nothing, ping: nothing, pushPull: () => state };
  (network as SimulatedNetwork<ChannelHandler>).plug(address, handler);
  return address.host;
}

test(`1,000 nodes at 1 % loss, with delay, reordering, duplicates, a partition and its end (GOSSIP_SEED=${seed})`, async (t) => {
  await using cluster = new SimulatedCluster(seed, 'objects');
  const { clock, network, nodes } = cluster;
  Object.assign(network.conditions, { loss: 0.01, duplication: 0.01, minDelay: 1, maxDelay: 80 });
  const started = performance.now();
  const report = (what: string): void => {
    const real = Math.round(performance.now() - started);
    t.diagnostic(
      `${what}: ${clock.now() / SECOND} s virtual, ${real} ms real, ${network.sent} packets, ${network.lost} lost`,
    );
  };

  for (let index = 0; index < NODES; index++) await cluster.add(index);
  // The first bootstrap meets a peer that knows all names (how a cluster forms from nothing is shown by a smaller one).
  const directory = listAll(cluster);
  for (const { db } of nodes) void db.bootstrap([directory]);
  await clock.advance(SECOND);
  for (const [index, { db }] of nodes.entries()) {
    void db.bootstrap([]);
    const id = networkOf(index);
    if (id === undefined) continue;
    void db.joinNetwork(id);
    db.createEntry(TABLE, id, `endpoint-${index}`, Buffer.from(`value-${index}`));
  }
  const formed = await clock.until(
    () => partial(nodes).length + incomplete(nodes).length === 0,
    400 * SECOND,
    10 * SECOND,
  );
  assert.ok(formed, `seed ${seed}: ${[...partial(nodes), ...incomplete(nodes)].slice(0, 20).join('; ')}`);
  report('formed');

  await clock.advance(60 * SECOND);
  assert.equal(failures(nodes), 0, `seed ${seed}: a living node was declared dead`);
  report('a quiet minute without a false death');

  const cutOff = nodes.slice(0, CUT_OFF);
  const others = nodes.slice(CUT_OFF);
  network.partition(cutOff.map(({ address }) => address));
  const hidden = await clock.until(
    () => others.every(({ db }) => db.stats().members === NODES - CUT_OFF),
    200 * SECOND,
    5 * SECOND,
  );
  assert.ok(hidden, `seed ${seed}: the majority did not notice the partition`);
  report('partition noticed');
  const witness = nodes[NETWORKS]?.db;
  assert.equal(
    [...(witness?.entries(TABLE, 'network-0') ?? [])].length,
    NODES_PER_NETWORK - 1,
    'an unreachable entry is hidden',
  );
  assert.equal(witness?.stats().entries['network-0'], NODES_PER_NETWORK, 'and kept');
  network.heal();
  const healed = await clock.until(
    () => partial(nodes).length + incomplete(nodes).length === 0,
    400 * SECOND,
    5 * SECOND,
  );
  assert.ok(healed, `seed ${seed}: ${[...partial(nodes), ...incomplete(nodes)].slice(0, 20).join('; ')}`);
  report('healed');
  const before = failures(nodes);
  await clock.advance(60 * SECOND);
  assert.equal(failures(nodes), before, `seed ${seed}: a node was declared dead after the partition`);
  report('a quiet minute after it');

  assert.deepEqual(misdirected(nodes), [], `seed ${seed}`);
});
