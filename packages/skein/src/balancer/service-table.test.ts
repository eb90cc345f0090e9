import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type BackendRecord, ServiceTable } from './service-table.ts';

const network = 'n';
const record = (address: string, changes: Partial<BackendRecord> = {}): BackendRecord => ({
  virtualIp: '10.0.0.2',
  serviceName: 'web',
  address,
  ports: [{ protocol: 'tcp', publishedPort: 80 }],
  isDisabled: false,
  returnsToEntrance: false,
  ...changes,
});

test('a virtual IP that lost its last task is refused for a while, unless its address is given to a task', () => {
  const table = new ServiceTable();
  table.set(network, 'a', record('10.0.0.5'), 0);
  table.delete(network, 'a', undefined, 0);
  assert.deepEqual([...table.virtualServices(network)], [['10.0.0.2', []]]);
  assert.deepEqual([...table.publishedPorts(network)], [], 'a published port goes with its last task');
  table.set(network, 'b', record('10.0.0.2', { virtualIp: '' }), 1);
  assert.deepEqual([...table.virtualServices(network)], []);
  table.delete(network, 'b', undefined, 2);
  table.expire(600_000);
  assert.deepEqual([...table.virtualServices(network)], []);
});

test('a virtual IP whose last task was lost, and whose address another service has by now, is refused for a while, too', () => {
  const table = new ServiceTable();
  table.set(network, 'a', record('10.0.0.5'), 0);
  table.lose(network, 'a', 60_000, 1);
  table.set(network, 'b', record('10.0.0.5', { virtualIp: '10.0.0.3' }), 2);
  table.setPeer(network, 'b', '10.0.0.5');
  const services = [...table.virtualServices(network)].sort();
  assert.deepEqual(services, [
    ['10.0.0.2', []],
    ['10.0.0.3', ['10.0.0.5']],
  ]);
});

test('a task to which the way is forgotten gets no more flows', () => {
  const table = new ServiceTable();
  table.set(network, 'a', record('10.0.0.5'), 0);
  table.setPeer(network, 'a', '10.0.0.5');
  table.losePeer(network, 'a', 60_000);
  assert.deepEqual([...table.virtualServices(network)], [['10.0.0.2', ['10.0.0.5']]]);
  assert.deepEqual(table.expire(60_000), [network]);
  assert.deepEqual([...table.virtualServices(network)], [['10.0.0.2', []]]);
});

test('what an earlier daemon said of a task goes with the task, whenever it is taken over', () => {
  for (const order of ['before', 'after', 'instead'] as const) {
    const table = new ServiceTable();
    const adopt = () =>
      table.adopt(network, 'tcp-80', ['10.0.0.5'], { until: 60_000, returning: new Set(['10.0.0.5']) });
    if (order !== 'after') adopt();
    if (order !== 'instead') table.set(network, 'a', record('10.0.0.5'), 0);
    if (order === 'after') adopt();
    table.delete(network, 'a', '10.0.0.5', 1);
    assert.deepEqual([...table.publishedPorts(network)], [], `the record came ${order} it`);
  }
});

test('whatever the history: enabled present tasks and nobody else get new flows, when there are any', () => {
  const event = fc.record({
    kind: fc.constantFrom('set', 'disable', 'lose', 'delete', 'expire'),
    task: fc.integer({ min: 1, max: 4 }),
  });
  fc.assert(
    fc.property(fc.array(event, { maxLength: 40 }), (events) => {
      const table = new ServiceTable();
      for (let task = 1; task <= 4; task++) table.setPeer(network, `peer${task}`, `10.0.0.${task + 10}`);
      const present = new Map<string, boolean>();
      for (const [now, { kind, task }] of events.entries()) {
        const address = `10.0.0.${task + 10}`;
        if (kind === 'set' || kind === 'disable') {
          table.set(network, address, record(address, { isDisabled: kind === 'disable' }), now);
          present.set(address, kind === 'set');
        } else if (kind === 'lose') {
          table.lose(network, address, now + 3, now);
          present.delete(address);
        } else if (kind === 'delete') {
          table.delete(network, address, address, now);
          present.delete(address);
        } else table.expire(now);
      }
      const enabled = [...present].filter(([, isEnabled]) => isEnabled).map(([address]) => address);
      const services = table.virtualServices(network).get('10.0.0.2') ?? [];
      if (enabled.length > 0) assert.deepEqual(services, enabled.sort());
      else for (const address of services) assert.ok(!present.has(address), `${address} is draining`);
      table.expire(1_000_000);
      const known = table.addresses(network);
      assert.deepEqual([...known].sort(), [...present.keys()].sort(), 'nothing lost is kept for ever');
    }),
  );
});
