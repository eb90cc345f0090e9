import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NetworkNamespace, Nftables } from '@skein/netlink';
import fc from 'fast-check';
import { fingerprint } from '../nftables/index.ts';
import { type DispatchTable, difference, tableObjects } from './dispatch.ts';
import { answerTable } from './entrance-mark.ts';
import { clientTable, entranceTable, hostTable, ipv6ClientTable, ipv6HostTable } from './tables.ts';

const path = `/run/skein-test-${process.pid}-dispatch`;
const services = fc
  .dictionary(
    fc.integer({ min: 1, max: 6 }).map((last) => `10.0.0.${last}`),
    fc
      .uniqueArray(fc.integer({ min: 10, max: 14 }), { maxLength: 4 })
      .map((all) => all.map((last) => `10.0.0.${last}`)),
  )
  .map((found) => new Map(Object.entries(found)));
const ports = fc
  .uniqueArray(
    fc.tuple(fc.constantFrom('tcp' as const, 'udp' as const, 'sctp' as const), fc.integer({ min: 1, max: 4 })),
    {
      selector: ([protocol, port]) => `${protocol}-${port}`,
      maxLength: 4,
    },
  )
  .map((all) => all.map(([protocol, port]) => ({ protocol, publishedPort: port, targetPort: port + 8000 })));
const returnPath = {
  interfaceName: 'eth0',
  subnet: '10.1.0.0/16',
  gatewayAddress: '172.18.0.7',
  ipv6: { subnet: 'fd00:1::/64', gatewayAddress: 'fd00:2::7' },
};
const ipv6 = (address: string): string =>
  `fd00:66::${address
    .split('.')
    .map(Number)
    .map((byte) => (byte + 1).toString(16))
    .join(':')}`;
const ipv6Entrance = {
  loadBalancerAddress: 'fd00:1::3',
  gatewayAddress: 'fd00:2::2',
  gatewaySubnet: 'fd00:2::/64',
};
const tables: fc.Arbitrary<DispatchTable> = fc.oneof(
  fc
    .tuple(services, fc.option(ports, { nil: undefined }))
    .map(([found, published]) =>
      ipv6ClientTable(
        'place',
        new Map([...found].map(([key, tasks]) => [ipv6(key), tasks.map(ipv6)])),
        published && { address: '10.1.0.7', ipv6Address: 'fd00:1::7', ports: published, returnPath },
      ),
    ),
  fc
    .tuple(services, fc.option(ports, { nil: undefined }), fc.subarray(['10.0.0.0/24', '10.2.0.0/16']))
    .map(([found, published, untracked]) =>
      clientTable('place', found, published && { address: '10.1.0.7', ports: published, returnPath }, untracked),
    ),
  fc.tuple(services, ports, fc.boolean()).map(([found, published, isOfIpv6]) => {
    const tasks = [...found.values()][0] ?? [];
    return entranceTable(
      {
        networkId: 'n',
        networkNamespace: 'place',
        ingressInterface: 'eth0',
        loadBalancerAddress: '10.0.0.3',
        gatewayAddress: '172.18.0.2',
        gatewaySubnet: '172.18.0.0/16',
      },
      new Map(published.map((port) => [`${port.protocol}-${port.publishedPort}`, isOfIpv6 ? tasks.map(ipv6) : tasks])),
      [...found.keys()].map((address) => (isOfIpv6 ? ipv6(address) : address)).sort(),
      isOfIpv6 ? ipv6Entrance : undefined,
    );
  }),
  fc
    .integer({ min: 8, max: 30 })
    .map((length) => answerTable('skein', { ...returnPath, interfaceName: 'lo', subnet: `10.0.0.0/${length}` })),
  ports.map((published) =>
    hostTable(
      'docker_gwbridge',
      published.map((port) => ({ ...port, address: '172.18.0.2' })),
    ),
  ),
  ports.map((published) =>
    ipv6HostTable(
      'docker_gwbridge',
      published.map((port) => ({ ...port, address: 'fd00:2::2' })),
    ),
  ),
);

test('the kernel lists every table as we wrote it, made at once or step by step', () => {
  using namespace = NetworkNamespace.create(path, { loopback: true });
  try {
    using nft = Nftables.open(namespace);
    fc.assert(
      fc.property(tables, tables, (before, after) => {
        const table = { family: before.family, name: before.name };
        nft.replaceTable(table, tableObjects(before));
        assert.equal(fingerprint(nft.list(table)), fingerprint(tableObjects(before)));
        const steps = difference(before, after);
        if (steps === undefined || steps.length === 0) return;
        nft.run(steps);
        assert.equal(fingerprint(nft.list(table)), fingerprint(tableObjects(after)));
      }),
      { numRuns: 150 },
    );
  } finally {
    NetworkNamespace.delete(path);
  }
});
