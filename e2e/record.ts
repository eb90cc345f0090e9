/**
 * Records what two dockerds and a worker say to each other, for the unit tests of the codecs: `node --conditions=source e2e/record.ts`.
 * The keys and certificates in it are those of a swarm that ended with the recording.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { protobufCodec } from '../packages/gossip/src/networkdb/codec.ts';
import { GossipTap, type Heard } from './support/gossip-tap.ts';
import { MixedSwarm } from './support/mixed.ts';

const packages = join(import.meta.dirname, '../packages');
const howMade =
  'Made by e2e/record.ts from Debian dockerd 20.10.24; keys and certificates are of a swarm that is no more.';
/** Enough for each kind of message in each of its wrappings. */
const perKind = 2;

await using swarm = await MixedSwarm.start('record', ['dockerd', 'dockerd'], { members: 1 });
const keys = swarm.gossipKeys();
const tap = GossipTap.start(swarm.cluster.lab.host('node1').networkNamespace, keys);
swarm.join('node2');
swarm.must('node1', 'network create -d overlay net');
swarm.service('web', 'net', ['--replicas', '2']);
await swarm.converged('web', 2);
swarm.must('node1', 'service scale --detach web=1');
await swarm.converged('web', 1);
await sleep(1_000);
swarm.must('node2', 'swarm leave');
await sleep(3_000);
const heard = await tap.stop();

swarm.cluster.must('node1', swarm.docker('node1', 'secret create key -'), { input: 'the secret' });
swarm.cluster.must('node1', swarm.docker('node1', 'config create settings -'), { input: 'the config' });
swarm.service('probed', 'net', [
  ...'--constraint node.hostname==probe --secret key --config source=settings,target=/etc/settings'.split(' '),
  ...'--env A=b --label c=d --mount type=volume,source=data,target=/data --limit-memory 64m --publish 8080:80'.split(
    ' ',
  ),
]);
const messages = swarm.probe('active', 4_000);

write('gossip/src/wire/fixtures/dockerd-20.10.json', {
  note: howMade,
  keys: keys.map(hex),
  exchanges: selected(heard).map(({ from, to, transport, bytes }) => ({ from, to, transport, bytes: hex(bytes) })),
});
write('skein/src/swarm/agent/fixtures/dockerd-20.10.json', {
  note: howMade,
  messages: messages.map(({ method, bytes }) => ({ method, bytes: Buffer.from(bytes).toString('base64') })),
});

function selected(all: readonly Heard[]): Heard[] {
  const counts = new Map<string, number>();
  return all.filter((one) => {
    const kind = `${one.transport} ${kinds(one).join(' ')}`;
    const count = counts.get(kind) ?? 0;
    counts.set(kind, count + 1);
    return count < perKind && one.messages.length > 0;
  });
}

function kinds({ messages }: Heard): string[] {
  const names = messages.map((message) =>
    message.type === 'user' ? `user:${protobufCodec.decode(message.body).type}` : message.type,
  );
  return [...new Set(names)].sort();
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function write(path: string, content: object): void {
  const file = join(packages, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(content, undefined, 2)}\n`);
  console.log(file);
}
