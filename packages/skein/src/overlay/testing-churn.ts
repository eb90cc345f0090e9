/**
 * A daemon for the test that kills it: makes and removes sandboxes for ever.
 * Arguments: state directory, namespace directory, host's namespace, VTEP address.
 */
import { NetworkNamespace } from '@skein/netlink';
import { EventBus, silentLogger } from '../common/index.ts';
import { createOverlayDriver } from './driver.ts';
import { TestGossip, testNetwork, testSandbox } from './testing.ts';

const [stateDirectory = '', namespaceDirectory = '', hostPath = '', vtep = ''] = process.argv.slice(2);
const driver = createOverlayDriver({
  stateDirectory,
  namespaceDirectory,
  logger: silentLogger(),
  events: new EventBus(),
  hostNamespace: NetworkNamespace.open(hostPath),
});
const networks = [testNetwork(41), testNetwork(42)];
await driver.joinCluster({
  gossip: new TestGossip().node('churn', vtep).asNetworkDB(),
  vtep,
  dataPathPort: 4789,
});
await driver.setLoadBalancerAddresses(
  new Map(networks.map((network, position) => [network.id, { network, address: `10.77.${41 + position}.250/24` }])),
);
console.log('ready');
for (let number = 0; ; number = (number + 1) % 4) {
  const spec = testSandbox(`c${number}`, 3 + number, networks, true);
  await driver.createSandbox(spec);
  if (number % 2 === 1) await driver.removeSandbox(spec.containerId);
  if (number === 3) for (const { containerId } of driver.sandboxes()) await driver.removeSandbox(containerId);
}
