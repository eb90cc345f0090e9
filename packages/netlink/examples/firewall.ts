/** A table of nftables rules, replaced in one step and counted. Needs libnftables1. Run as root. */
import { NetworkNamespace, Nftables, type NftObject, udpSocketIn } from '@skein/netlink';

const path = `/run/netlink-example-${process.pid}-guarded`;
using cleanup = new DisposableStack();
cleanup.defer(() => NetworkNamespace.delete(path));
const namespace = cleanup.use(NetworkNamespace.create(path, { loopback: true }));
using nft = Nftables.open(namespace);

const table = { family: 'inet', name: 'example' } as const;
const input: NftObject = {
  chain: { ...table, table: table.name, name: 'input', type: 'filter', hook: 'input', prio: 0, policy: 'accept' },
};
const dropPort = (port: number): NftObject => ({
  rule: {
    family: table.family,
    table: table.name,
    chain: 'input',
    expr: [
      { match: { op: '==', left: { payload: { protocol: 'udp', field: 'dport' } }, right: port } },
      { counter: null },
      { drop: null },
    ],
  },
});
nft.replaceTable(table, [input, dropPort(9)]);

const sender = await udpSocketIn(namespace, { address: '127.0.0.1', port: 0 });
for (let n = 0; n < 3; n++) await new Promise((resolve) => sender.send('x', 9, '127.0.0.1', resolve));
sender.close();

for (const object of nft.list(table)) if ('rule' in object) console.log(JSON.stringify(object.rule.expr[1]));
try {
  nft.run([{ add: { rule: { ...table, table: 'none', chain: 'input', expr: [{ drop: null }] } } }]);
} catch (error) {
  console.log(String(error));
}
