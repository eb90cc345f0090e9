import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { silentLogger } from '../../common/index.ts';
import { FakeExecutor } from '../agent/testing.ts';
import { openSwarmNode } from './index.ts';

test('a swarm whose manager does not reach itself is not made, and another init may follow', async (t) => {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'skein-node-'));
  t.after(() => rmSync(stateDirectory, { recursive: true, force: true }));
  await using node = await openSwarmNode({
    stateDirectory,
    logger: silentLogger(),
    createExecutor: () => ({
      executor: new FakeExecutor(),
      witness: { lost: () => [], answers: async () => false },
      leave: async () => {},
      [Symbol.asyncDispose]: async () => {},
    }),
    localRoutes: () => [],
  });
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
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() });
  const failing = node.init({ ...request, advertiseAddress: '127.0.0.1:1' });
  const refused = assert.rejects(failing, {
    code: 'Unavailable',
    message:
      /^this node does not reach itself at 127\.0\.0\.1:1, .*: check --advertise-addr\. No swarm was made \(.*refused"\)$/,
  });
  while (node.status().error === '') await sleep(10);
  t.mock.timers.tick(21_000);
  await refused;
  assert.equal(node.status().localNodeState, 'inactive');
  assert.ok(!existsSync(stateDirectory));
  assert.match(await node.init(request), /^[0-9a-z]{25}$/);
});
