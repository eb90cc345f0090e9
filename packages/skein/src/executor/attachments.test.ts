import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { TaskSchema } from '../swarm/gen/objects_pb.js';
import { AttachmentController, Attachments } from './attachments.ts';

test('an attachment that ran before the daemon started is held, so that one that nobody has is given back', async () => {
  const attachments = new Attachments();
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
