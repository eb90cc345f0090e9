import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, test } from 'node:test';
import { Nftables } from '../nftables/nftables.ts';
import { udpSocketIn } from '../sockets.ts';
import { TestNamespaces } from '../testing.ts';
import { Conntrack } from './conntrack.ts';
import { RulesetGeneration } from './generation.ts';

const namespaces = new TestNamespaces('netfilter');
after(() => namespaces[Symbol.dispose]());

const UDP = 17;
const servicePort = 9000;

test('a translated flow is listed with both directions, and forgotten when deleted', async () => {
  const [client, server] = namespaces.pair('client', 'server');
  using nft = Nftables.open(client);
  const table = { family: 'ip', name: 'nat' } as const;
  const output = { family: 'ip', table: 'nat', name: 'output' } as const;
  nft.replaceTable(table, [
    { chain: { ...output, type: 'nat', hook: 'output', prio: -100, policy: 'accept' } },
    {
      rule: {
        family: 'ip',
        table: 'nat',
        chain: 'output',
        expr: [
          { match: { op: '==', left: { payload: { protocol: 'ip', field: 'daddr' } }, right: '10.99.0.77' } },
          { dnat: { addr: '10.99.0.2' } },
        ],
      },
    },
  ]);
  const receiver = await udpSocketIn(server, { address: '0.0.0.0', port: servicePort });
  const sender = await udpSocketIn(client, { address: '0.0.0.0', port: 0 });
  const arrived = once(receiver, 'message');
  sender.send('to the virtual address', servicePort, '10.99.0.77');
  await arrived;
  using conntrack = Conntrack.open(client);
  const isOurs = (entry: { original: { destination: string } }) => entry.original.destination === '10.99.0.77';
  const entry = conntrack.list({ family: 'ipv4' }).find(isOurs);
  assert.ok(entry, JSON.stringify(conntrack.list()));
  assert.equal(entry.protocol, UDP);
  assert.deepEqual(entry.original, {
    source: '10.99.0.1',
    destination: '10.99.0.77',
    sourcePort: sender.address().port,
    destinationPort: servicePort,
  });
  assert.equal(entry.reply.source, '10.99.0.2');
  assert.ok(entry.timeout > 0);
  assert.equal(
    conntrack.deleteMatching(({ reply }) => reply.source === '10.99.0.9'),
    0,
  );
  assert.equal(
    conntrack.deleteMatching(({ reply }) => reply.source === '10.99.0.2'),
    1,
  );
  assert.deepEqual(conntrack.list().filter(isOurs), []);
  conntrack.delete(entry);
  sender.close();
  receiver.close();
});

test("the ruleset's generation grows with each transaction of the namespace, and only of that", () => {
  const namespace = namespaces.create('generation');
  using generation = RulesetGeneration.open(namespace);
  using nft = Nftables.open(namespace);
  using elsewhere = Nftables.open(namespaces.create('elsewhere'));
  const before = generation.read();
  nft.run([{ add: { table: { family: 'ip', name: 'one' } } }]);
  assert.equal(generation.read(), before + 1);
  nft.list({ family: 'ip', name: 'one' });
  elsewhere.run([{ add: { table: { family: 'ip', name: 'one' } } }]);
  assert.equal(generation.read(), before + 1);
});

test('a table is known by family and name', () => {
  const namespace = namespaces.create('table');
  using generation = RulesetGeneration.open(namespace);
  using nft = Nftables.open(namespace);
  const table = { family: 'ip6', name: 'one' } as const;
  assert.equal(generation.hasTable(table), false);
  nft.run([{ add: { table } }]);
  assert.equal(generation.hasTable(table), true);
  assert.equal(generation.hasTable({ family: 'ip', name: 'one' }), false);
  assert.equal(generation.hasTable({ family: 'ip6', name: 'two' }), false);
});
