import assert from 'node:assert/strict';
import { test } from 'node:test';
import packet from 'dns-packet';
import fc from 'fast-check';
import {
  type Answer,
  addressOfReverseName,
  DnsMessageError,
  decodeQuery,
  encodeFailure,
  encodeReply,
  isResponseTo,
  responseCode,
  responseCodeOf,
  truncate,
  udpLimit,
  withId,
} from './message.ts';

const label = fc.stringMatching(/^[a-zA-Z0-9_-]{1,20}$/);
const name = fc.array(label, { minLength: 1, maxLength: 6 }).map((labels) => labels.join('.'));
const query = fc.record({
  id: fc.integer({ min: 0, max: 0xffff }),
  name,
  type: fc.constantFrom('A', 'AAAA', 'PTR', 'MX', 'TXT', 'SRV'),
  payload: fc.option(fc.integer({ min: 1, max: 0xffff }), { nil: undefined }),
  recursion: fc.boolean(),
});

function encodeQuery(value: typeof query extends fc.Arbitrary<infer T> ? T : never): Uint8Array {
  return packet.encode({
    type: 'query',
    id: value.id,
    flags: value.recursion ? packet.RECURSION_DESIRED : 0,
    questions: [{ name: value.name, type: value.type as packet.RecordType, class: 'IN' }],
    additionals:
      value.payload === undefined
        ? []
        : [
            {
              type: 'OPT',
              name: '.',
              udpPayloadSize: value.payload,
              flags: 0,
              options: [],
            } as unknown as packet.Answer,
          ],
  });
}

test('reads every query that dns-packet writes', () => {
  fc.assert(
    fc.property(query, (value) => {
      const read = decodeQuery(encodeQuery(value));
      assert.equal(read.id, value.id);
      assert.equal(read.question.name, value.name);
      assert.equal(read.question.class, 1);
      assert.equal(read.recursionDesired, value.recursion);
      assert.equal(read.payloadSize, value.payload);
    }),
  );
});

test('dns-packet reads every reply, within the limit, with TC exactly when something was left out', () => {
  const answers = fc.array(
    fc.oneof(
      fc.record({ type: fc.constant('A' as const), address: fc.ipV4() }),
      fc.record({ type: fc.constant('PTR' as const), name }),
    ),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(query, answers, fc.integer({ min: 0, max: 86400 }), (value, list: Answer[], timeToLive) => {
      const read = decodeQuery(encodeQuery(value));
      const reply = { code: responseCode.noError, authoritative: true, answers: list, timeToLive };
      const bytes = encodeReply(read, reply, udpLimit(read));
      assert.ok(bytes.length <= udpLimit(read));
      const decoded = packet.decode(Buffer.from(bytes));
      const got = decoded.answers ?? [];
      assert.equal(decoded.id, value.id);
      assert.equal(decoded.flag_aa, true);
      assert.equal(decoded.flag_tc, got.length < list.length);
      assert.equal(decoded.flag_rd, value.recursion);
      assert.equal(decoded.questions?.[0]?.name, value.name);
      assert.equal(decoded.additionals?.length ?? 0, value.payload === undefined ? 0 : 1);
      assert.deepEqual(
        got.map((answer) => ('data' in answer ? answer.data : undefined)),
        list.slice(0, got.length).map((answer) => (answer.type === 'PTR' ? answer.name : answer.address)),
      );
      for (const answer of got) assert.equal('ttl' in answer ? answer.ttl : undefined, timeToLive);
      assert.ok(isResponseTo(bytes, value.id, read.questionBytes));
      assert.ok(!isResponseTo(bytes, value.id ^ 1, read.questionBytes));
      assert.ok(isResponseTo(withId(bytes, 7), 7, read.questionBytes));
    }),
  );
});

test('random bytes and damaged queries give a query or a DnsMessageError, nothing else', () => {
  const damaged = fc
    .tuple(query, fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 6 }), fc.nat(80))
    .map(([value, changes, cut]) => {
      const bytes = Uint8Array.from(encodeQuery(value));
      for (const [offset, byte] of changes) if (offset < bytes.length) bytes[offset] = byte;
      return bytes.subarray(0, Math.max(0, bytes.length - (cut > 40 ? cut - 40 : 0)));
    });
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 600 }), damaged), (bytes) => {
      try {
        const read = decodeQuery(bytes);
        const reply = { code: responseCode.serverFailure, authoritative: false, answers: [], timeToLive: 0 };
        assert.equal(responseCodeOf(encodeReply(read, reply, udpLimit(read))), responseCode.serverFailure);
      } catch (error) {
        if (!(error instanceof DnsMessageError)) throw error;
        if (error.code !== undefined) assert.equal(responseCodeOf(encodeFailure(bytes, error.code)), error.code);
      }
    }),
    { numRuns: 1000 },
  );
});

test('a response is not answered, so that two servers cannot keep each other busy', () => {
  const response = packet.encode({ type: 'response', id: 1, questions: [{ type: 'A', name: 'a' }] });
  assert.throws(() => decodeQuery(response), { name: 'DnsMessageError', code: undefined });
});

test('a forwarded answer that is too long becomes the question with TC', () => {
  const read = decodeQuery(
    encodeQuery({ id: 9, name: 'big.example', type: 'TXT', payload: undefined, recursion: true }),
  );
  const long = packet.encode({
    type: 'response',
    id: 9,
    questions: [{ type: 'TXT', name: 'big.example' }],
    answers: [{ type: 'TXT', name: 'big.example', data: Buffer.alloc(900, 'x').toString() }],
  });
  const cut = packet.decode(Buffer.from(truncate(long, read)));
  assert.equal(cut.flag_tc, true);
  assert.equal(cut.answers?.length, 0);
  assert.equal(cut.questions?.[0]?.name, 'big.example');
});

test('reverse names are read back, others are not', () => {
  fc.assert(
    fc.property(fc.ipV4(), (address) => {
      const reverse = address.split('.').reverse().join('.');
      assert.equal(addressOfReverseName(`${reverse}.IN-ADDR.arpa`), address);
    }),
  );
  assert.equal(addressOfReverseName('300.1.1.1.in-addr.arpa'), undefined);
  assert.equal(addressOfReverseName('1.1.1.in-addr.arpa'), undefined);
});
