import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { silentLogger } from '../../common/index.ts';
import { FakeExecutor } from '../agent/testing.ts';
import { openSwarmNode, type SwarmNode } from './index.ts';

const request = {
  listenAddress: '127.0.0.1:23771',
  advertiseAddress: '127.0.0.1',
  dataPathAddress: '',
  dataPathPort: 0,
  forceNewCluster: false,
  availability: 'active',
  autoLockManagers: false,
  defaultAddressPool: [],
  subnetSize: 0,
  spec: undefined,
} as const;

async function openNode(
  t: TestContext,
  {
    stateDirectory = mkdtempSync(join(tmpdir(), 'skein-node-')),
    leave = async () => {},
  }: { stateDirectory?: string; leave?: () => Promise<void> } = {},
): Promise<{ node: SwarmNode; executor: FakeExecutor; stateDirectory: string }> {
  const executor = new FakeExecutor();
  const node = await openSwarmNode({
    stateDirectory,
    logger: silentLogger(),
    createExecutor: () => ({
      executor,
      witness: { lost: () => [], answers: async () => false },
      leave,
      [Symbol.asyncDispose]: async () => {},
    }),
    localRoutes: () => [],
  });
  t.after(async () => {
    await node[Symbol.asyncDispose]();
    rmSync(stateDirectory, { recursive: true, force: true });
  });
  return { node, executor, stateDirectory };
}

test('a swarm whose manager has no session with itself is not made, and another init may follow', async (t) => {
  const { node, executor, stateDirectory } = await openNode(t);
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() });
  const describe = t.mock.method(executor, 'describe', () => Promise.reject(new Error('no description')));
  const refused = assert.rejects(node.init(request), {
    code: 'Unavailable',
    message:
      /^this node has no session with its own manager at 127\.0\.0\.1:23771: .* No swarm was made \(no description\)$/,
  });
  while (node.status().error === '') await sleep(10);
  t.mock.timers.tick(21_000);
  await refused;
  assert.equal(node.status().localNodeState, 'inactive');
  assert.ok(!existsSync(stateDirectory));
  describe.mock.restore();
  assert.match(await node.init(request), /^[0-9a-z]{25}$/);
});

test('a manager behind NAT, which does not reach itself as others do, is known by what it advertises', async (t) => {
  const { node } = await openNode(t);
  // TEST-NET-1 (RFC 5737): nobody answers there.
  const advertiseAddress = '192.0.2.7:2377';
  const nodeId = await node.init({ ...request, listenAddress: '0.0.0.0:23772', advertiseAddress });
  assert.equal(node.status().localNodeState, 'active');
  assert.equal(node.status().nodeAddress, '192.0.2.7');
  assert.deepEqual(node.status().remoteManagers, [{ nodeId, address: advertiseAddress }]);
  const itself = node.control().store.view((transaction) => transaction.get('node', nodeId));
  assert.equal(itself?.status?.addr, '192.0.2.7');
  assert.equal(itself?.managerStatus?.addr, advertiseAddress);
});

test('a host whose networks cannot be taken down has left the swarm all the same, and may make another', async (t) => {
  const { node, stateDirectory } = await openNode(t, { leave: () => Promise.reject(new Error('link is busy')) });
  await node.init({ ...request, listenAddress: '127.0.0.1:23773' });
  await assert.rejects(node.leave(true), /^Error: link is busy$/);
  assert.ok(!existsSync(stateDirectory));
  await node.init({ ...request, listenAddress: '127.0.0.1:23773' });
});

test('a membership that cannot be remembered is ended, and another init may follow', async (t) => {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'skein-node-'));
  const inTheWay = join(stateDirectory, 'node.json.tmp');
  const { node, executor } = await openNode(t, { stateDirectory });
  const described = t.mock.method(executor, 'describe', async () => {
    mkdirSync(inTheWay, { recursive: true });
    return executor.description;
  });
  await assert.rejects(node.init({ ...request, listenAddress: '127.0.0.1:23774' }), { code: 'EISDIR' });
  described.mock.restore();
  assert.ok(!existsSync(stateDirectory));
  await node.init({ ...request, listenAddress: '127.0.0.1:23774' });
});
