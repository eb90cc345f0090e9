import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LoadBalancer } from '../balancer/types.ts';
import { silentLogger } from '../common/index.ts';
import type { OverlayDriver, OverlayNetwork } from '../overlay/types.ts';
import type { ClusterNetwork } from './cluster-network.ts';
import { IngressEntrance } from './ingress-entrance.ts';

const partOf = <T>(part: Partial<T>): T => part as T;

test('a reason why the entrance cannot be built is told once, while it is tried again', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const logger = silentLogger();
  const told = t.mock.method(logger, 'error', () => {});
  const reasons = ['no address', 'no address', 'no link'];
  let tries = 0;
  const all = Promise.withResolvers<void>();
  await using entrance = new IngressEntrance({
    overlay: partOf<OverlayDriver>({
      hasIpv6: () => false,
      createSandbox: async () => {
        const reason = reasons[tries++];
        setImmediate(() => (tries < reasons.length ? t.mock.timers.tick(5_000) : all.resolve()));
        throw new Error(reason);
      },
    }),
    balancer: partOf<LoadBalancer>({ setEntrance: () => {} }),
    network: partOf<ClusterNetwork>({ joined: async () => {} }),
    logger,
  });
  entrance.configure({ network: partOf<OverlayNetwork>({ subnets: [] }), address: '10.0.0.2/24' });
  await all.promise;
  assert.deepEqual(
    told.mock.calls.map(({ arguments: [detail] }) => detail as unknown),
    [{ error: 'no address' }, { error: 'no link' }],
  );
});
