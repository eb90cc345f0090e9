/** Network-scoped gossip: a node that runs no task of a network hears nothing of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { callApi } from './support/api.ts';
import { Cluster, eventually } from './support/cluster.ts';

interface GossipReport {
  readonly peers: readonly { readonly name: string; readonly address: string; readonly state: string }[];
  readonly networks: readonly string[];
  /** Table events received, by network. */
  readonly tableEvents: Readonly<Record<string, number>>;
}

test('the third node, which runs no task of uber-net, never receives a table event of it', async () => {
  await using cluster = await Cluster.start('scope', 3);
  const init = cluster.must('node1', 'docker swarm init --advertise-addr 172.31.1.5');
  const token = /SWMTKN\S+/.exec(init)?.[0] ?? '';
  for (const node of ['node2', 'node3'])
    cluster.must(node, ['docker', 'swarm', 'join', '--token', token, '172.31.1.5:2377']);
  await eventually('each knows the two others by gossip', async () => {
    const reports = await Promise.all(['node1', 'node2', 'node3'].map((node) => report(cluster, node)));
    return reports.every(({ peers }) => peers.filter((peer) => peer.state === 'alive').length === 2) || undefined;
  });

  const network = cluster.must('node1', 'docker network create -d overlay uber-net').trim();
  cluster.must(
    'node1',
    'docker service create --quiet --name test --network uber-net --replicas 4 --constraint node.hostname!=node3 ubuntu sleep infinity',
  );
  const heard = await eventually('node1 and node2 hear of each other', async () => {
    const both = await Promise.all(
      ['node1', 'node2'].map(async (node) => (await report(cluster, node)).tableEvents[network] ?? 0),
    );
    return both.every((count) => count > 0) ? both : undefined;
  });
  cluster.must('node1', 'docker service scale --detach test=8');
  await eventually(
    'eight tasks',
    () => (cluster.must('node1', 'docker service ls --format {{.Replicas}}').trim() === '8/8' ? true : undefined),
    60_000,
  );

  const third = await report(cluster, 'node3');
  assert.equal(third.tableEvents[network] ?? 0, 0, JSON.stringify({ heard, third }));
  assert.ok(!third.networks.includes(network), JSON.stringify(third));
  assert.ok(!cluster.must('node3', 'docker network ls').includes('uber-net'));
});

/** Skein's own endpoint for diagnosis. */
async function report(cluster: Cluster, node: string): Promise<GossipReport> {
  const socket =
    cluster.lab
      .hosts()
      .find((host) => host.name === node)
      ?.dockerHost.replace('unix://', '') ?? '';
  const { status, body } = await callApi(socket, 'GET', '/skein/gossip');
  assert.equal(status, 200, JSON.stringify(body));
  return body as GossipReport;
}
