import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { frame, MessageReader } from './tcp-messages.ts';

test('messages come out as they went in, however the stream is cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 300 })),
      fc.array(fc.integer({ min: 1, max: 50 })),
      (messages, cuts) => {
        const stream = Buffer.concat(messages.map(frame));
        const reader = new MessageReader();
        const read: Uint8Array[] = [];
        let offset = 0;
        for (const cut of cuts) {
          read.push(...reader.read(stream.subarray(offset, offset + cut)));
          offset += cut;
        }
        read.push(...reader.read(stream.subarray(offset)));
        assert.deepEqual(
          read.map((message) => Buffer.from(message).toString('hex')),
          messages.map((message) => Buffer.from(message).toString('hex')),
        );
      },
    ),
  );
});
