import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { test } from 'node:test';
import { type BytePort, ByteTransport, SimulatedNetwork, seededRandom, VirtualClock } from '../simulation/index.ts';
import { NetTransport } from '../transport/index.ts';
import { type Address, decodePacket, encodePacket, Keyring, type Message, toPart } from '../wire/index.ts';
import { BroadcastQueue } from './broadcast-queue.ts';
import { pushPullInterval, retransmitLimit } from './config.ts';
import { Memberlist, type MemberlistOptions } from './index.ts';
import { VSN } from './member.ts';
import { remainingSuspicion, suspicionTimeout } from './suspicion.ts';

const SECOND = 1_000;
const EMPTY = new Uint8Array(0);
const keyring = new Keyring();
const addressOf = (last: number): Address => ({ host: `10.0.0.${last}`, port: 7946 });

function world() {
  const clock = new VirtualClock();
  const random = seededRandom(1);
  const network = new SimulatedNetwork<BytePort>(clock, random);
  const node = (last: number, options: Partial<MemberlistOptions> = {}): Memberlist => {
    const transport = new ByteTransport(network, addressOf(last));
    const memberlist = new Memberlist({ name: `n${last}`, transport, clock, random, ...options });
    memberlist.start();
    return memberlist;
  };
  /** A node of which only the packets are real: what it gets is kept, what it says is up to the test. */
  const puppet = (last: number) => {
    const received: Message[] = [];
    const transport = new ByteTransport(network, addressOf(last));
    transport.onPacket((_from, bytes) =>
      received.push(...decodePacket(bytes, keyring).parts.map(({ message }) => message)),
    );
    const send = (to: Address, ...messages: Message[]): void => {
      transport.sendPacket(to, encodePacket(messages.map(toPart), keyring, random));
    };
    return { received, send };
  };
  return { clock, network, node, puppet };
}
const alive = (last: number, incarnation = 1): Message => {
  const body = {
    incarnation,
    node: `n${last}`,
    addr: Uint8Array.of(10, 0, 0, last),
    port: 7946,
    meta: EMPTY,
    vsn: VSN,
  };
  return { type: 'alive', body };
};
const ping = (node: string, source: number): Message => {
  const body = {
    seqNo: 7,
    node,
    sourceAddr: Uint8Array.of(10, 0, 0, source),
    sourcePort: 7946,
    sourceNode: `n${source}`,
  };
  return { type: 'ping', body };
};

test('the suspicion shrinks from max to min on a log scale (upstream table)', () => {
  const seconds = (confirmations: number, elapsed: number) => {
    return remainingSuspicion(confirmations, 3, elapsed * SECOND, 2 * SECOND, 30 * SECOND);
  };
  assert.equal(seconds(0, 0), 30_000);
  assert.equal(seconds(1, 2), 14_000);
  assert.equal(seconds(2, 3), 4_810);
  assert.equal(seconds(3, 4), -2_000);
  assert.equal(suspicionTimeout(4_000, 5), 4_000);
  assert.equal(suspicionTimeout(4_000, 1_000), 12_000);
});

test('retransmissions and the push/pull interval grow with the cluster', () => {
  assert.deepEqual(
    [1, 9, 10, 99, 100].map((nodes) => retransmitLimit(4, nodes)),
    [4, 4, 8, 8, 12],
  );
  assert.deepEqual(
    [32, 33, 64, 65].map((nodes) => pushPullInterval(30, nodes)),
    [30, 60, 60, 90],
  );
});

test('the broadcast queue: newest first, least sent first, a newer one replaces, each a limited number of times', () => {
  const queue = new BroadcastQueue(3);
  const part = (text: string) => toPart({ type: 'user', body: Buffer.from(text.padEnd(20)) });
  const take = (budget: number): string[] => {
    const parts: ReturnType<typeof part>[] = [];
    queue.take(budget, 2, parts);
    return parts.map(({ message }) =>
      Buffer.from(message.body as Uint8Array)
        .toString()
        .trim(),
    );
  };
  let done = 0;
  queue.push('a', part('a1'), () => done++);
  queue.push('b', part('b1'));
  queue.push('a', part('a2'));
  assert.equal(done, 1);
  assert.deepEqual(take(25), ['a2']);
  assert.deepEqual(take(25), ['b1']);
  assert.deepEqual(take(100).sort(), ['a2', 'b1']);
  assert.deepEqual(take(100), []);
  for (const name of ['1', '2', '3', '4']) queue.push(name, part(name));
  assert.equal(queue.size, 3);
  for (let count = 0; count < 10_000; count++) queue.push('same', part('x'));
  assert.equal(queue.size, 3);
});

test('a ping is answered at its source address; one for another name is ignored', async () => {
  const { clock, node, puppet } = world();
  node(1);
  const asker = puppet(2);
  const elsewhere = puppet(3);
  asker.send(addressOf(1), ping('n1', 3));
  asker.send(addressOf(1), ping('other', 3));
  await clock.advance(100);
  const acks = elsewhere.received.filter(({ type }) => type === 'ackResp');
  assert.deepEqual(structuredClone(acks), [{ type: 'ackResp', body: { seqNo: 7, payload: EMPTY } }]);
});

test('an accused node refutes with a higher incarnation and thinks less of its own health', async () => {
  const { clock, node, puppet } = world();
  const accused = node(1);
  const accuser = puppet(2);
  accuser.send(addressOf(1), alive(2), { type: 'suspect', body: { incarnation: 5, node: 'n1', from: 'n2' } });
  await clock.advance(SECOND);
  assert.equal(accused.self.incarnation, 6);
  assert.equal(accused.localHealth, 1);
  const refutation = accuser.received.find((message) => message.type === 'alive' && message.body.incarnation === 6);
  assert.ok(refutation?.type === 'alive');
  assert.deepEqual([...refutation.body.addr], [10, 0, 0, 1]);
  assert.equal(refutation.body.vsn.length, 6);
});

test('who goes on accusing a node of what it has refuted is told again', async () => {
  const { clock, node, puppet } = world();
  const accused = node(1);
  const accuser = puppet(2);
  const suspect: Message = { type: 'suspect', body: { incarnation: 5, node: 'n1', from: 'n2' } };
  accuser.send(addressOf(1), alive(2), suspect);
  await clock.advance(5 * SECOND);
  const refutations = (): number =>
    accuser.received.filter((message) => message.type === 'alive' && message.body.node === 'n1').length;
  const before = refutations();
  accuser.send(addressOf(1), suspect);
  await clock.advance(SECOND);
  assert.ok(refutations() > before);
  assert.equal(accused.self.incarnation, 6);
});

test('a node that was held for dead is told so once, and lives', async () => {
  const { clock, node, puppet } = world();
  let deaths = 0;
  const accused = node(1, { events: { declaredDead: () => deaths++ } });
  const accuser = puppet(2);
  const dead: Message = { type: 'dead', body: { incarnation: 5, node: 'n1', from: 'n2' } };
  accuser.send(addressOf(1), alive(2), dead, dead);
  await clock.advance(SECOND);
  assert.equal(accused.self.incarnation, 6);
  assert.equal(deaths, 1);
  assert.ok(accuser.received.some((message) => message.type === 'alive' && message.body.incarnation === 6));
});

test('a silent member is suspected, told so with the pings, and declared dead in the end', async () => {
  const { clock, node, puppet } = world();
  const events: string[] = [];
  const observer = node(1, {
    events: {
      join: ({ name }) => events.push(`join ${name}`),
      suspect: ({ name }) => events.push(`suspect ${name}`),
      leave: ({ name, state }) => events.push(`${state} ${name}`),
    },
  });
  const silent = puppet(2);
  silent.send(addressOf(1), alive(2));
  await clock.advance(20 * SECOND);
  assert.deepEqual(events, ['join n2', 'suspect n2', 'dead n2']);
  assert.ok(silent.received.some(({ type }) => type === 'suspect'));
  assert.equal(observer.members().length, 1);
});

test('a helper pings in place of another, and says so when there is no answer', async () => {
  const { clock, node, puppet } = world();
  node(1);
  node(4);
  const asker = puppet(2);
  const request = (target: number, seqNo: number): Message => ({
    type: 'indirectPing',
    body: {
      seqNo,
      target: Uint8Array.of(10, 0, 0, target),
      port: 7946,
      node: `n${target}`,
      nack: true,
      sourceAddr: EMPTY,
      sourcePort: 0,
      sourceNode: '',
    },
  });
  asker.send(addressOf(1), request(4, 100));
  asker.send(addressOf(1), request(9, 200));
  await clock.advance(SECOND);
  const answers = asker.received.filter(({ type }) => type === 'ackResp' || type === 'nackResp');
  assert.deepEqual(
    answers.map(({ type, body }) => [type, (body as { seqNo: number }).seqNo]),
    [
      ['ackResp', 100],
      ['nackResp', 200],
    ],
  );
});

test('a name at a second address is a conflict, and bad protocol versions are not taken in', async () => {
  const { clock, node, puppet } = world();
  const observer = node(1);
  const first = puppet(2);
  const message = alive(2);
  assert.ok(message.type === 'alive');
  first.send(addressOf(1), message);
  first.send(addressOf(1), {
    type: 'alive',
    body: { ...message.body, incarnation: 9, addr: Uint8Array.of(10, 0, 0, 3) },
  });
  first.send(addressOf(1), { type: 'alive', body: { ...message.body, node: 'short', vsn: Uint8Array.of(1, 5) } });
  first.send(addressOf(1), { type: 'alive', body: { ...message.body, node: 'zero', vsn: new Uint8Array(6) } });
  await clock.advance(100);
  assert.deepEqual(
    observer.members().map(({ name }) => name),
    ['n1', 'n2'],
  );
  assert.deepEqual(observer.drops.snapshot(), { 'address-conflict': 1, 'protocol-version': 2 });
});

test('a former life of a node is declared dead by the node, but not who refutes that', async () => {
  const { clock, node, puppet } = world();
  const list = node(1);
  const { received, send } = puppet(2);
  const old = (incarnation: number): Message => {
    const { body } = alive(1, incarnation) as Extract<Message, { type: 'alive' }>;
    return { type: 'alive', body: { ...body, node: 'old' } };
  };
  send(addressOf(1), alive(2), old(3));
  await clock.advance(2 * SECOND);
  const declared = (): unknown[] => received.flatMap(({ type, body }) => (type === 'dead' ? [body] : []));
  assert.deepEqual(declared()[0], { incarnation: 3, node: 'old', from: 'n1' });
  assert.equal(list.member('old'), undefined);
  const before = declared().length;
  send(addressOf(1), old(4));
  await clock.advance(2 * SECOND);
  assert.equal(declared().length, before, JSON.stringify(declared()));
  assert.equal(list.drops.snapshot()['address-conflict'], 1);
  await list.close();
});

test('a member that no packet can be sent to, and a name that fits no packet, stop nothing', async (t) => {
  await using transport = Object.assign(await NetTransport.open({ host: '127.0.0.1', port: 0 }), {
    [Symbol.asyncDispose]: () => observer.close(),
  });
  const observer = new Memberlist({ name: 'real', transport, config: { probeInterval: 5, gossipInterval: 5 } });
  observer.start();
  const message = alive(2);
  assert.ok(message.type === 'alive');
  const socket = createSocket('udp4');
  t.after(() => socket.close());
  const send = (body: Partial<typeof message.body>): Promise<void> => {
    const bytes = encodePacket(
      [toPart({ type: 'alive', body: { ...message.body, ...body } })],
      keyring,
      seededRandom(1),
    );
    return new Promise((resolve, reject) => {
      socket.send(bytes, observer.self.address.port, '127.0.0.1', (error) => (error ? reject(error) : resolve()));
    });
  };
  await send({ node: 'v6', addr: new Uint8Array(16).fill(1) });
  await send({ node: 'zero', port: 0 });
  await send({ node: 'three', addr: new Uint8Array(3) });
  for (let count = 0; count < 10; count++)
    await send({ node: `${count}`.repeat(1_370), addr: Uint8Array.of(127, 0, 0, 1), port: 9 });
  await new Promise((resolve) => setTimeout(resolve, 100));
  await send({ node: 'late', addr: Uint8Array.of(127, 0, 0, 1), port: 9 });
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.ok(observer.member('late'), JSON.stringify(observer.drops.snapshot()));
  assert.equal(observer.drops.get('malformed'), 2);
});

test('a host answers at a port that nobody listens at too, and asking is no offence', async (t) => {
  const open = async (name: string): Promise<Memberlist> => {
    const memberlist = new Memberlist({ name, transport: await NetTransport.open({ host: '127.0.0.1', port: 0 }) });
    t.after(() => memberlist.close());
    memberlist.start();
    return memberlist;
  };
  const [asker, asked] = [await open('asker'), await open('asked')];
  assert.equal(await asker.hostAnswers(asked.self.address), true);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.deepEqual(asked.drops.snapshot(), {});
  await asked.close();
  assert.equal(await asker.hostAnswers(asked.self.address), true);
});

test('a host that nothing comes back from does not answer', async () => {
  const { clock, node } = world();
  const asked = node(1).hostAnswers(addressOf(9));
  await clock.advance(SECOND);
  assert.equal(await asked, false);
});

test('UDP cut but TCP alive: nobody is declared dead', async () => {
  const { clock, network, node } = world();
  const members = [1, 2, 3, 4].map((last) => node(last));
  const joins = Promise.all(members.map((member) => member.join([addressOf(1).host])));
  await clock.advance(5 * SECOND);
  await joins;
  network.conditions.loss = 1;
  await clock.advance(120 * SECOND);
  assert.deepEqual(
    members.map((member) => member.members().length),
    [4, 4, 4, 4],
  );
});

test('leaving is told apart from dying; user messages come by packet, stream and broadcast', async () => {
  const { clock, node } = world();
  const got: string[] = [];
  const gone: string[] = [];
  const receiver = node(1, {
    delegate: { message: (data) => got.push(Buffer.from(data).toString()) },
    events: { leave: ({ name, state }) => gone.push(`${name} ${state}`) },
  });
  const sender = node(2);
  const joined = sender.join(['10.0.0.1:7946']);
  await clock.advance(SECOND);
  assert.equal(await joined, 1);
  sender.sendUserMessage(receiver.self.address, Buffer.from('packet'));
  const delivered = sender.sendUserStream(receiver.self.address, Buffer.from('stream'));
  sender.queueBroadcast('name', Buffer.from('broadcast'));
  await clock.advance(SECOND);
  await delivered;
  assert.deepEqual([...new Set(got)].sort(), ['broadcast', 'packet', 'stream']);
  const left = sender.leave(SECOND);
  await clock.advance(2 * SECOND);
  await left;
  await sender.close();
  assert.deepEqual(gone, ['n2 left']);
});

test('joining nobody fails with a reason for each address, in time', async () => {
  const { clock, node } = world();
  const failed = node(1)
    .join(['10.0.0.9'])
    .then(
      () => assert.fail('joined a void'),
      (error: unknown) => error,
    );
  await clock.advance(11 * SECOND);
  const error = await failed;
  assert.ok(error instanceof AggregateError);
  assert.match(error.message, /10\.0\.0\.9.*10000 ms/);
});

test('what a peer does wrong is logged once with its address, however often it comes', async () => {
  const { clock, network, node } = world();
  const logged: object[] = [];
  const ignore = (): void => {};
  const logger = {
    debug: ignore,
    info: ignore,
    warn: (message: string, detail = {}) => logged.push({ message, ...detail }),
  };
  node(1, { logger, keyring: new Keyring([new Uint8Array(16)]) });
  const stranger = new ByteTransport(network, addressOf(9));
  for (let packet = 0; packet < 5; packet++) stranger.sendPacket(addressOf(1), Buffer.alloc(60, 1));
  await clock.advance(SECOND);
  assert.deepEqual(
    logged.map((entry) => ({ ...entry, error: undefined })),
    [{ message: 'input refused', from: '10.0.0.9:7946', cause: 'undecryptable', error: undefined }],
  );
});
