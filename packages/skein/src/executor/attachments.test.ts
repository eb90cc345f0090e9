import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { pino } from 'pino';
import { RpcError, silentLogger } from '../common/index.ts';
import { TaskSchema } from '../swarm/gen/objects_pb.js';
import { AttachmentController, Attachments } from './attachments.ts';

test('an attachment that ran before the daemon started is held, so that one that nobody has is given back', async () => {
  const attachments = new Attachments(silentLogger());
  const network = {
    id: 'network',
    spec: { annotations: { name: 'net' } },
    driverState: { name: 'overlay', options: { 'com.docker.network.driver.overlay.vxlanid_list': '4097' } },
    ipam: { configs: [{ subnet: '10.0.1.0/24', gateway: '10.0.1.1' }] },
  };
  const task = create(TaskSchema, { id: 'attachment', networks: [{ network, addresses: ['10.0.1.5/24'] }] });
  const controller = new AttachmentController(task, attachments);
  const ending = new AbortController();
  // A task that is RUNNING goes on with this step.
  const waiting = controller.wait(ending.signal);
  assert.deepEqual(attachments.held(), ['attachment']);
  ending.abort();
  await assert.rejects(waiting, /no longer attached/);
  await controller.shutdown();
  assert.deepEqual(attachments.held(), []);
});

test('an attachment that came to nothing and cannot be given back is named in the log, with the cause', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const lines: string[] = [];
  const attachments = new Attachments(pino({}, { write: (line) => void lines.push(line) }));
  const source = {
    attachNetwork: async () => 'attachment',
    detachNetwork: async () => {
      throw new RpcError('Unavailable', 'no manager answers');
    },
  };
  const request = { target: 'net', containerId: 'container', addresses: [], aliases: [] };
  const attached = assert.rejects(attachments.attach(source, request), /no address from the manager within 20 s/);
  await turn();
  t.mock.timers.tick(20_000);
  await attached;
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? '', /"attachment":"attachment".*no manager answers/);
});
