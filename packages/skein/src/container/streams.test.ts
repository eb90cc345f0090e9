import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ContainerStreams } from './streams.ts';

test('clients that have hung up do not keep others from waiting for a start', () => {
  const record = {
    id: 'c1',
    config: { OpenStdin: true, Tty: false },
    hostConfig: { LogConfig: { Type: '', Config: {} } },
  };
  const context = { store: { directoryOf: () => '/nowhere' } };
  const streams = new ContainerStreams(record as never, context as never);
  for (let client = 0; client < 500; client++) streams.attach({ stdin: true }).stdout.destroy();
  for (let client = 0; client < 100; client++) streams.attach({ stdin: true });
  assert.throws(() => streams.attach({ stdin: true }), { code: 'ResourceExhausted' });
});
