import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { answerQuestion, timeToLive } from './answer.ts';
import { recordType } from './message.ts';
import { type NamedEndpoint, NameTable } from './names.ts';

const uber = { id: 'n1', name: 'uber-net' };
const other = { id: 'n2', name: 'other.net' };

function endpoint(values: Partial<NamedEndpoint>): NamedEndpoint {
  return {
    name: 'test.1.abc',
    serviceName: 'test',
    serviceId: 's1',
    virtualIp: '<nil>',
    endpointIp: '10.0.1.3',
    aliases: [],
    taskAliases: [],
    serviceDisabled: false,
    ...values,
  };
}

function tableOf(...rows: [string, string, NamedEndpoint][]): NameTable {
  const table = new NameTable();
  for (const [network, id, record] of rows) table.set(network, id, record);
  return table;
}

test('a service with a virtual IP answers with it, and `tasks.` with the tasks', () => {
  const vip = { virtualIp: '10.0.1.2', aliases: ['web'] };
  const table = tableOf(
    ['n1', 'a', endpoint({ ...vip })],
    ['n1', 'b', endpoint({ ...vip, name: 'test.2.def', endpointIp: '10.0.1.4' })],
  );
  for (const name of ['test', 'TEST.', 'test.uber-net', 'web', 'web.UBER-net']) {
    assert.deepEqual(table.addresses(name, [uber]), ['10.0.1.2'], name);
  }
  for (const name of ['tasks.test', 'tasks.web', 'tasks.test.uber-net']) {
    assert.deepEqual(table.addresses(name, [uber]), ['10.0.1.3', '10.0.1.4'], name);
  }
  assert.deepEqual(table.addresses('test.2.def', [uber]), ['10.0.1.4']);
});

test('a service without a virtual IP answers with its tasks, a draining one only with the others', () => {
  const table = tableOf(
    ['n1', 'a', endpoint({ taskAliases: ['0123456789ab'] })],
    [
      'n1',
      'b',
      endpoint({ name: 'test.2.def', endpointIp: '10.0.1.4', serviceDisabled: true, taskAliases: ['fedcba987654'] }),
    ],
  );
  assert.deepEqual(table.addresses('test', [uber]), ['10.0.1.3']);
  assert.deepEqual(table.addresses('0123456789ab', [uber]), ['10.0.1.3']);
  assert.equal(table.addresses('fedcba987654', [uber]), undefined);
  assert.equal(table.nameOf('10.0.1.4', [uber]), undefined);
});

test('the first network that knows a name answers; a network name as suffix chooses', () => {
  const table = tableOf(
    ['n1', 'a', endpoint({})],
    ['n2', 'a', endpoint({ endpointIp: '10.0.2.3' })],
    ['n2', 'dotted', endpoint({ name: 'db.1.x', serviceName: 'db', endpointIp: '10.0.2.9' })],
  );
  assert.deepEqual(table.addresses('test', [uber, other]), ['10.0.1.3']);
  assert.deepEqual(table.addresses('test', [other, uber]), ['10.0.2.3']);
  assert.deepEqual(table.addresses('test.other.net', [uber, other]), ['10.0.2.3']);
  assert.equal(table.addresses('test.other.net', [uber]), undefined);
  assert.deepEqual(table.addresses('db.1.x.other.net', [uber, other]), ['10.0.2.9']);
  assert.equal(table.addresses('test', []), undefined);
});

test('plain containers have names but no `tasks.`', () => {
  const table = tableOf(['n1', 'a', endpoint({ name: 'box', serviceName: '', serviceId: '', aliases: ['cache'] })]);
  assert.deepEqual(table.addresses('box', [uber]), ['10.0.1.3']);
  assert.deepEqual(table.addresses('cache', [uber]), ['10.0.1.3']);
  assert.equal(table.addresses('tasks.box', [uber]), undefined);
});

test('records without a name or a readable address are left out, and one that turns bad is taken away', () => {
  const table = tableOf(['n1', 'a', endpoint({})]);
  assert.deepEqual(table.addresses('test', [uber]), ['10.0.1.3']);
  table.set('n1', 'a', endpoint({ endpointIp: 'nonsense' }));
  assert.equal(table.addresses('test', [uber]), undefined);
  table.set('n1', 'a', endpoint({ name: '' }));
  assert.equal(table.addresses('test', [uber]), undefined);
});

test('our names are answered with authority for every type, those of others not at all', () => {
  const table = tableOf(['n1', 'a', endpoint({})]);
  const ask = (name: string, type: number, dnsClass = 1) =>
    answerQuestion({ name, type, class: dnsClass }, table, [uber], (items) => items);
  const base = { code: 0, authoritative: true, timeToLive };
  assert.deepEqual(ask('test', recordType.A), { ...base, answers: [{ type: 'A', address: '10.0.1.3' }] });
  assert.deepEqual(ask('test', recordType.ANY), { ...base, answers: [{ type: 'A', address: '10.0.1.3' }] });
  for (const type of [recordType.AAAA, recordType.MX, 33, 65])
    assert.deepEqual(ask('test', type), { ...base, answers: [] });
  assert.deepEqual(ask('3.1.0.10.in-addr.arpa', recordType.PTR), {
    ...base,
    answers: [{ type: 'PTR', name: 'test.1.abc.uber-net' }],
  });
  assert.deepEqual(ask('3.1.0.10.in-addr.arpa', recordType.A), { ...base, answers: [] });
  assert.equal(ask('example.com', recordType.A), undefined);
  assert.equal(ask('9.9.0.10.in-addr.arpa', recordType.PTR), undefined);
  assert.equal(ask('test', recordType.A, 3), undefined);
});

test('a dual-stack service answers in both families, and one without IPv6 says that it has none', () => {
  const both = { virtualIp: '10.0.1.2', virtualIpv6: 'FD00:0::2', endpointIpv6: 'fd00::3', taskAliases: ['host'] };
  const table = tableOf(
    ['n1', 'a', endpoint(both)],
    ['n1', 'b', endpoint({ name: 'old.1.def', serviceName: 'old', endpointIp: '10.0.1.4' })],
  );
  const ask = (name: string, type: number) =>
    answerQuestion({ name, type, class: 1 }, table, [uber], (items) => items)?.answers;
  assert.deepEqual(ask('test', recordType.AAAA), [{ type: 'AAAA', address: 'fd00::2' }]);
  assert.deepEqual(ask('test', recordType.A), [{ type: 'A', address: '10.0.1.2' }]);
  for (const name of ['tasks.test', 'test.1.abc', 'host.uber-net'])
    assert.deepEqual(ask(name, recordType.AAAA), [{ type: 'AAAA', address: 'fd00::3' }], name);
  assert.equal(ask('test', recordType.ANY)?.length, 2);
  assert.deepEqual(ask('old', recordType.AAAA), []);
  const reverse = (last: string) => `${last}.${'0.'.repeat(27)}0.0.d.f.ip6.arpa`.toUpperCase();
  assert.deepEqual(ask(reverse('3'), recordType.PTR), [{ type: 'PTR', name: 'test.1.abc.uber-net' }]);
  assert.deepEqual(ask(reverse('2'), recordType.PTR), [{ type: 'PTR', name: 'test.uber-net' }]);
  assert.equal(ask(reverse('9'), recordType.PTR), undefined);
});

test('after any history the names are those of the records that are left', () => {
  const record = fc.record({
    name: fc.constantFrom('test.1.a', 'test.2.b', 'other.1.c'),
    serviceName: fc.constantFrom('test', 'other', ''),
    serviceId: fc.constantFrom('s1', ''),
    virtualIp: fc.constantFrom('10.0.1.2', ''),
    endpointIp: fc.constantFrom('10.0.1.3', '10.0.1.4', 'nonsense'),
    aliases: fc.subarray(['web', 'test']),
    serviceDisabled: fc.boolean(),
  });
  const step = fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.option(record, { nil: undefined }));
  const names = ['test', 'other', 'web', 'tasks.test', 'tasks.web', 'test.1.a', 'test.2.b', 'other.1.c'];
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const table = new NameTable();
      const left = new Map<string, NamedEndpoint>();
      for (const [id, values] of steps) {
        left.delete(id);
        if (values === undefined) table.delete('n1', id);
        else table.set('n1', id, endpoint(values));
        if (values !== undefined) left.set(id, endpoint(values));
      }
      const fresh = tableOf(...[...left].map(([id, values]): [string, string, NamedEndpoint] => ['n1', id, values]));
      for (const name of names) {
        assert.deepEqual(table.addresses(name, [uber])?.toSorted(), fresh.addresses(name, [uber])?.toSorted(), name);
      }
      for (const address of ['10.0.1.2', '10.0.1.3', '10.0.1.4']) {
        assert.equal(table.nameOf(address, [uber]) === undefined, fresh.nameOf(address, [uber]) === undefined, address);
      }
    }),
  );
});
