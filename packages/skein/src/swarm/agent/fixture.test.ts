/** What a dockerd manager sent to a worker (fixtures/, made by e2e/record.ts) is read, and written again byte for byte. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { AssignmentsMessage_Type, AssignmentsMessageSchema, SessionMessageSchema } from '../gen/dispatcher_pb.js';
import { IssuanceStatus_State } from '../gen/types_pb.js';

const fixture = JSON.parse(readFileSync(join(import.meta.dirname, 'fixtures/dockerd-20.10.json'), 'utf8')) as {
  messages: { method: 'Session' | 'Assignments'; bytes: string }[];
};
const bytesOf = (method: string): Buffer[] =>
  fixture.messages.filter((one) => one.method === method).map(({ bytes }) => Buffer.from(bytes, 'base64'));

test("a dockerd's Session messages: three keys for each subsystem, managers, root, the node with its addresses", () => {
  const sessions = bytesOf('Session').map((bytes) => {
    const message = fromBinary(SessionMessageSchema, bytes);
    assert.ok(bytes.equals(toBinary(SessionMessageSchema, message)));
    return message;
  });
  for (const { networkBootstrapKeys, managers, rootCa, node } of sessions) {
    assert.equal(networkBootstrapKeys.length, 6);
    assert.ok(networkBootstrapKeys.every(({ key }) => key.length === 16));
    assert.match(managers[0]?.peer?.addr ?? '', /:2377$/);
    assert.match(Buffer.from(rootCa).toString(), /^-----BEGIN CERTIFICATE-----/);
    assert.equal(node?.certificate?.status?.state, IssuanceStatus_State.ISSUED);
  }
  const last = sessions.at(-1)?.node?.attachments ?? [];
  assert.ok(last.some(({ network }) => network?.spec?.annotations?.name === 'net'));
  assert.ok(last.every(({ addresses }) => /^10\.0\.\d+\.\d+\/24$/.test(addresses[0] ?? '')));
});

test("a dockerd's Assignments: a complete list, then the task with its secret and config", () => {
  const messages = bytesOf('Assignments').map((bytes) => {
    const message = fromBinary(AssignmentsMessageSchema, bytes);
    assert.ok(bytes.equals(toBinary(AssignmentsMessageSchema, message)));
    return message;
  });
  assert.equal(messages[0]?.type, AssignmentsMessage_Type.COMPLETE);
  assert.equal(messages[1]?.appliesTo, messages[0]?.resultsIn);
  const items = messages.flatMap(({ changes }) => changes.map(({ assignment }) => assignment?.item));
  assert.ok(
    items.some(
      (item) => item?.case === 'secret' && Buffer.from(item.value.spec?.data ?? '').equals(Buffer.from('the secret')),
    ),
  );
  assert.ok(
    items.some(
      (item) => item?.case === 'config' && Buffer.from(item.value.spec?.data ?? '').equals(Buffer.from('the config')),
    ),
  );
  const task = items.flatMap((item) => (item?.case === 'task' ? [item.value] : []))[0];
  assert.ok(task?.spec?.runtime.case === 'container');
  assert.deepEqual(task.spec.runtime.value.env, ['A=b']);
  assert.deepEqual(
    task.networks.map(({ network }) => network?.spec?.annotations?.name),
    ['ingress', 'net'],
  );
  assert.deepEqual(
    task.endpoint?.ports.map(({ targetPort, publishedPort }) => [targetPort, publishedPort]),
    [[80, 8080]],
  );
});

test('fields that we do not know are kept, and bytes that are cut or changed are an error at most', () => {
  const unknown = Buffer.from('9a06036e6577', 'hex'); // field 99, "new"
  for (const bytes of bytesOf('Session')) {
    const message = fromBinary(SessionMessageSchema, Buffer.concat([bytes, unknown]));
    assert.equal(message.managers.length, 1);
  }
  const sample = fc.constantFrom(...bytesOf('Assignments'), ...bytesOf('Session'));
  const started = performance.now();
  fc.assert(
    fc.property(sample, fc.nat(3_000), fc.uint8Array({ maxLength: 8 }), fc.nat(3_000), (bytes, at, insert, cut) => {
      const place = at % bytes.length;
      const changed = Buffer.concat([bytes.subarray(0, place), insert, bytes.subarray(place + insert.length)]);
      for (const input of [changed, bytes.subarray(0, cut % bytes.length)]) {
        for (const schema of [SessionMessageSchema, AssignmentsMessageSchema]) {
          try {
            fromBinary(schema, input);
          } catch (error) {
            assert.ok(error instanceof Error);
          }
        }
      }
    }),
    { numRuns: 1_000 },
  );
  assert.ok(performance.now() - started < 10_000);
});
