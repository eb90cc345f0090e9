import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { NetworkNamespace } from '@skein/netlink';
import { EventBus, silentLogger } from '../common/index.ts';
import { Bridges } from './bridges.ts';
import { Connections } from './connections.ts';
import type { ContainerNetworking } from './networking.ts';
import type { PlainRecord } from './record.ts';
import { Register } from './register.ts';
import type { Starter } from './starter.ts';

const defaultId = 'd'.repeat(64);
const any = { aliases: [], ipv4Address: '', mac: '' };
const partOf = <T>(part: Partial<T>): T => part as T;

test('the default network is one, by its name and by the ID that it has before it is made', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'skein-connections-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const host = NetworkNamespace.current();
  t.after(() => host[Symbol.dispose]());
  const logger = silentLogger();
  const register = new Register(join(directory, 'containers'), logger);
  const connections = new Connections({
    register,
    bridges: new Bridges(host, join(directory, 'networks'), defaultId, new EventBus(), logger),
    networking: partOf<ContainerNetworking>({
      drop: async (record, network) => {
        record.networks = record.networks.filter((each) => each !== network);
      },
    }),
    starter: partOf<Starter>({}),
  });
  for (const [first, second] of [
    ['bridge', defaultId],
    [defaultId, 'bridge'],
  ] as const) {
    const record: PlainRecord = {
      containerId: 'c'.repeat(64),
      name: 'web',
      hostname: 'web',
      mode: { kind: 'own' },
      networks: [],
      ports: [],
      up: false,
      stopped: false,
    };
    await connections.connect(record, first, any);
    await assert.rejects(connections.connect(record, second, any), {
      message: 'endpoint with name web already exists in network bridge',
    });
    await connections.disconnect(record, second);
    assert.deepEqual(record.networks, []);
  }
});
