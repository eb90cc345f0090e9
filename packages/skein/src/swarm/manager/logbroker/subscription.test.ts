import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { LogSelectorSchema, LogSubscriptionOptionsSchema } from '../../gen/logbroker_pb.js';
import { Subscription } from './subscription.ts';

test('a node that is held back again and again by a slow reader leaves nothing behind', async () => {
  const options = create(LogSubscriptionOptionsSchema, { follow: true });
  const subscription = new Subscription(create(LogSelectorSchema, { serviceIds: ['s1'] }), options);
  const reading = new AbortController();
  const reader = subscription.read(reading.signal);
  const { signal } = new AbortController();
  const message = { data: new Uint8Array() } as never;
  for (let held = 0; held < 63; held++) await subscription.push([message], signal);
  for (let round = 0; round < 100; round++) {
    const pushed = subscription.push([message], signal);
    await reader.next();
    await pushed;
  }
  assert.equal(getEventListeners(signal, 'abort').length, 0);
  reading.abort();
  await reader.return?.(undefined);
});
