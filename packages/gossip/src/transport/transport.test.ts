/** What every transport must do, run against real sockets and against the simulated one. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type BytePort, ByteTransport, SimulatedNetwork, seededRandom, VirtualClock } from '../simulation/index.ts';
import type { Address } from '../wire/index.ts';
import { NetTransport, type Stream, systemSockets, type Transport } from './index.ts';

interface Setup {
  open(): Promise<Transport>;
  /** Lets `settled` happen. */
  wait<T>(settled: Promise<T>): Promise<T>;
}

function real(host: string): Setup {
  return { open: () => NetTransport.open({ host, port: 0 }), wait: (settled) => settled };
}

function simulated(): Setup {
  const clock = new VirtualClock();
  const network = new SimulatedNetwork<BytePort>(clock, seededRandom(1));
  let last = 0;
  return {
    open: async () => new ByteTransport(network, { host: `10.0.0.${++last}`, port: 7946 }),
    wait: async (settled) => {
      let isDone = false;
      const done = (): void => {
        isDone = true;
      };
      settled.then(done, done);
      await clock.until(() => isDone, 5_000, 10);
      return settled;
    },
  };
}

async function readAll(stream: Stream): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for (let chunk = await stream.read(); chunk; chunk = await stream.read()) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const setups = {
  NetTransport: () => real('127.0.0.1'),
  'NetTransport over IPv6': () => real('::1'),
  ByteTransport: simulated,
};

for (const [name, setup] of Object.entries(setups)) {
  test(`${name} delivers packets with their sender's address`, async () => {
    const { open, wait } = setup();
    const [a, b] = [await open(), await open()];
    const received = new Promise<[Address, string]>((resolve) => {
      b.onPacket((from, bytes) => resolve([from, Buffer.from(bytes).toString()]));
    });
    a.sendPacket(b.address, Buffer.from('hello'));
    assert.deepEqual(await wait(received), [a.address, 'hello']);
    await Promise.all([a.close(), b.close()]);
  });

  test(`${name} carries a request and its answer on a stream, each to its end`, async () => {
    const { open, wait } = setup();
    const [a, b] = [await open(), await open()];
    b.onStream((stream) => {
      void (async () => {
        const request = await stream.read();
        await stream.write(Buffer.from(`re: ${Buffer.from(request ?? []).toString()}`));
        stream.end();
      })();
    });
    const exchange = async (): Promise<string> => {
      const stream = await a.dial(b.address, AbortSignal.timeout(5_000));
      await stream.write(Buffer.from('question'));
      const answer = (await readAll(stream)).toString();
      stream.end();
      return answer;
    };
    assert.equal(await wait(exchange()), 're: question');
    await Promise.all([a.close(), b.close()]);
  });

  test(`${name} rejects a dial that is given up and a read of a broken stream`, async () => {
    const { open, wait } = setup();
    const [a, b] = [await open(), await open()];
    const controller = new AbortController();
    const dial = a.dial({ host: b.address.host, port: 1 }, controller.signal);
    controller.abort(new Error('given up'));
    await assert.rejects(wait(dial));
    b.onStream(() => {});
    const read = async (): Promise<void> => {
      const stream = await a.dial(b.address, AbortSignal.timeout(5_000));
      const pending = stream.read();
      stream.destroy(new Error('broken'));
      await pending;
    };
    await assert.rejects(wait(read()));
    await Promise.all([a.close(), a.close(), b.close()]);
  });
}

test('who connects while a transport is being opened finds nobody, and does not keep it from closing', {
  timeout: 5_000,
}, async () => {
  let early: Socket | undefined;
  const bindUdp = async (at: Address): ReturnType<typeof systemSockets.bindUdp> => {
    early = connect(at);
    await once(early, 'connect');
    await sleep(50);
    return systemSockets.bindUdp(at);
  };
  const transport = await NetTransport.open({ host: '127.0.0.1', port: 0, sockets: { ...systemSockets, bindUdp } });
  transport.onStream((stream) => stream.end());
  const stream = await transport.dial(transport.address, AbortSignal.timeout(1_000));
  assert.equal(await stream.read(), undefined, 'who comes later is served');
  stream.end();
  await transport.close();
  early?.destroy();
});

test('closing a transport ends the dials under way, and it dials no more', { timeout: 5_000 }, async () => {
  // A name that nobody ever looks up: the connection stays in the making.
  const connectTcp = (): Socket => connect({ host: 'peer.invalid', port: 9, lookup: () => {} });
  const transport = await NetTransport.open({ host: '127.0.0.1', port: 0, sockets: { ...systemSockets, connectTcp } });
  const to = { host: '192.0.2.1', port: 7946 };
  const rejected = assert.rejects(transport.dial(to, AbortSignal.timeout(60_000)), /closed/);
  await transport.close();
  await rejected;
  await assert.rejects(transport.dial(to, AbortSignal.timeout(60_000)), /closed/);
});

test('a transport that is bound everywhere speaks with peers of both families, and knows them by their own addresses', async () => {
  const everywhere = await NetTransport.open({ host: '0.0.0.0', port: 0 });
  const { port } = everywhere.address;
  for (const host of ['127.0.0.1', '::1']) {
    const peer = await NetTransport.open({ host, port: 0 });
    const packet = (at: Transport) =>
      new Promise<Address>((resolve) => {
        at.onPacket(resolve);
      });
    const atEverywhere = packet(everywhere);
    peer.sendPacket({ host, port }, Buffer.from('hello'));
    assert.deepEqual(await atEverywhere, peer.address);
    const atPeer = packet(peer);
    everywhere.sendPacket(peer.address, Buffer.from('hello'));
    assert.deepEqual(await atPeer, { host, port });
    const accepted = new Promise<Stream>((resolve) => everywhere.onStream(resolve));
    const dialled = await peer.dial({ host, port }, AbortSignal.timeout(5_000));
    assert.equal((await accepted).remote.host, host);
    dialled.destroy();
    await peer.close();
  }
  await everywhere.close();
});
