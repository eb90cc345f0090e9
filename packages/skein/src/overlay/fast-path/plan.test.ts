import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testNetwork } from '../testing.ts';
import type { EndpointState } from '../types.ts';
import { planEndpoints, planPeers } from './plan.ts';

test('the plan has what the rows have, of IPv4, each address in the VNI of its subnet', () => {
  const network = testNetwork(61, {
    subnets: [
      { subnet: '10.77.61.0/24', gateway: '10.77.61.1', vni: 4157, ipv6: { subnet: 'fd61::/64', gateway: 'fd61::1' } },
      { subnet: '10.78.61.0/24', gateway: '10.78.61.1', vni: 4200 },
    ],
  });
  const endpoint = (id: string, address: string): EndpointState => ({
    id,
    network,
    address,
    mac: '02:42:00:00:00:01',
    interfaceName: 'eth0',
    aliases: [],
  });
  const [mac, other] = ['02:42:0a:4d:3d:04', '02:42:0a:4e:3d:04'];
  const endpoints = planEndpoints(
    network,
    [endpoint('a', '10.77.61.3/24'), endpoint('b', '10.78.61.3/24'), endpoint('c', '10.77.61.9/24')],
    new Map([
      ['a', 'veth1'],
      ['b', 'veth2'],
    ]),
  );
  const peers = planPeers(
    network,
    {
      neighbours: new Map([
        ['10.77.61.4', mac],
        ['fd61::4', mac],
        ['10.78.61.4', other],
        ['10.77.61.5', '02:42:0a:4d:3d:05'],
        ['10.77.61.6', '02:42:0a:4d:3d:06'],
      ]),
      forwarding: new Map([
        [mac, '192.0.2.6'],
        ['02:42:0a:4d:3d:06', '2001:db8::6'],
        [other, '192.0.2.7'],
      ]),
    },
    { takesLargeSegments: (vtep) => vtep === '192.0.2.7' },
  );
  assert.deepEqual(
    endpoints.map(({ address, vni, portName }) => `${address} ${vni} ${portName}`),
    ['10.77.61.3 4157 veth1', '10.78.61.3 4200 veth2'],
  );
  assert.deepEqual(
    peers.map(({ address, vni, vtep, takesLargeSegments }) => `${address} ${vni} ${vtep} ${takesLargeSegments}`),
    ['10.77.61.4 4157 192.0.2.6 false', '10.78.61.4 4200 192.0.2.7 true'],
  );
});
