import assert from 'node:assert/strict';
import { statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { EventBus, SkeinError, silentLogger } from '../common/index.ts';
import { startEngine } from './server.ts';
import { FakeEngine, fakeLocal } from './testing/fake-engine.ts';

/** Sends `text` on a connection of its own and collects what comes back until it ends. */
function raw(
  socketPath: string,
  text: string,
  then?: (socket: ReturnType<typeof connect>, sofar: Buffer) => void,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    let received = Buffer.alloc(0);
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      then?.(socket, received);
    });
    socket.once('end', () => {
      socket.end();
      resolve(received);
    });
    socket.once('error', reject);
    socket.write(text);
  });
}

describe('the HTTP server', () => {
  it('listens on a socket of mode 0660 and carries its version in every header', async () => {
    await using engine = await FakeEngine.start();
    assert.equal(statSync(engine.socketPath).mode & 0o777, 0o660);
    for (const method of ['GET', 'HEAD']) {
      const { status, headers, text } = await engine.request(method, '/_ping');
      assert.deepEqual(
        [status, headers['api-version'], headers.ostype, headers.server, headers.swarm, headers['docker-experimental']],
        [200, '1.51', 'linux', 'Skein/0.1.0 (linux)', 'inactive', 'false'],
      );
      assert.equal(text, method === 'GET' ? 'OK' : '');
    }
    const missing = await engine.request('GET', '/nowhere');
    assert.deepEqual(
      [missing.status, missing.json, missing.headers['api-version']],
      [404, { message: 'page not found' }, '1.51'],
    );
  });

  it('serves the versions 1.24 to 1.51 and refuses others in the words of dockerd', async () => {
    await using engine = await FakeEngine.start();
    for (const version of ['1.24', '1.41', '1.51']) {
      assert.equal((await engine.request('GET', `/v${version}/version`)).status, 200, version);
    }
    assert.deepEqual((await engine.request('GET', '/v1.23/version')).json, {
      message:
        'client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version',
    });
    assert.deepEqual((await engine.request('GET', '/v1.52/version')).json, {
      message: 'client version 1.52 is too new. Maximum supported API version is 1.51',
    });
    assert.equal((await engine.request('GET', '/v2.1/version')).status, 400);
  });

  it('refuses what is no JSON, of a wrong type, or no JSON by its own account', async () => {
    await using engine = await FakeEngine.start();
    await engine.request('POST', '/swarm/init', {});
    const answers = [
      await engine.request('POST', '/services/create', '{"Name":'),
      await engine.request('POST', '/networks/create', { Name: 'x', Internal: 'yes' }),
      await engine.request('POST', '/networks/create', 'Name=x', { 'Content-Type': 'text/plain' }),
      await engine.request('GET', '/networks?filters={"nope":["x"]}'),
      await engine.request('GET', '/services?filters=nonsense'),
      await engine.request('POST', '/services/test/update?version=x', {}),
    ];
    assert.deepEqual(
      answers.map(({ status, json }) => `${status} ${(json as { message: string }).message}`),
      [
        '400 unexpected EOF',
        '400 json: cannot unmarshal string into Go struct field NetworkCreateRequest.Internal of type bool',
        "400 unsupported Content-Type header (text/plain): must be 'application/json'",
        "400 invalid filter 'nope'",
        "400 invalid filter: invalid character 'o' in literal null (expecting 'u')",
        `400 invalid version 'x': strconv.ParseUint: parsing "x": invalid syntax`,
      ],
    );
  });

  it('refuses a body beyond its bound', async () => {
    await using engine = await FakeEngine.start();
    const { status, json } = await engine.request('POST', '/secrets/create', `{"Data":"${'A'.repeat(9 << 20)}"}`);
    assert.deepEqual([status, json], [400, { message: 'http: request body too large' }]);
  });

  it('answers 501 with a sentence where an endpoint is not built', async () => {
    await using engine = await FakeEngine.start();
    await engine.request('POST', '/swarm/init', {});
    for (const [method, path, body] of [
      ['POST', '/build', undefined],
      ['POST', '/commit', undefined],
      ['POST', '/containers/create', { Image: 'ubuntu', HostConfig: { PidMode: 'container:x' } }],
      ['GET', '/containers/x/export', undefined],
      ['GET', '/images/ubuntu/get', undefined],
      ['POST', '/images/library/ubuntu/push', undefined],
    ] as const) {
      const { status, json } = await engine.request(method, path, body);
      assert.equal(status, 501, path);
      assert.match((json as { message: string }).message, /^[A-Z].{15,}[.a-z]$/, path);
    }
  });

  it('takes over the socket of a dead daemon, never that of a living one', async () => {
    await using engine = await FakeEngine.start();
    const options = {
      runtime: engine.runtime,
      networking: engine.networking.contract(),
      local: fakeLocal(),
      taskPorts: () => [],
      swarm: engine.swarm,
      events: new EventBus(),
      logger: silentLogger(),
      version: { version: '0.1.0', gitCommit: '', buildTime: '' },
      host: { id: 'x', hostname: 'x', dataRoot: '/', labels: [], debug: false, started: new Date() },
      diagnosis: { gossip: () => undefined },
    };
    await assert.rejects(startEngine({ ...options, socketPath: engine.socketPath }), /another daemon listens on/);
    const stale = join(engine.directory, 'stale.sock');
    writeFileSync(stale, '');
    const second = await startEngine({ ...options, socketPath: stale, tcp: { host: '127.0.0.1', port: 0 } });
    assert.ok((second.port ?? 0) > 0);
    const answer = await fetch(`http://127.0.0.1:${second.port}/_ping`);
    assert.equal(await answer.text(), 'OK');
    await second.close();
    await second.close();
  });
});

describe('attached sessions', () => {
  const start = async (engine: FakeEngine, spec: object): Promise<string> => {
    engine.addContainer('1'.repeat(64), 'one', {
      id: 'n',
      name: 'net',
      subnets: [],
      internal: false,
      ingress: false,
      encrypted: false,
      labels: {},
      options: {},
      attachable: false,
    });
    const { json } = await engine.request('POST', '/containers/one/exec', {
      AttachStdout: true,
      AttachStderr: true,
      ...spec,
    });
    return (json as { Id: string }).Id;
  };
  const upgrade = (id: string, body: string): string =>
    `POST /v1.50/exec/${id}/start HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

  it('turn into a raw stream with 101, frames without a terminal', async () => {
    await using engine = await FakeEngine.start();
    const id = await start(engine, { Cmd: ['complain', 'out'] });
    const received = (await raw(engine.socketPath, upgrade(id, '{}'))).toString('latin1');
    const [head = '', ...rest] = received.split('\r\n\r\n');
    assert.match(
      head,
      /^HTTP\/1\.1 101 UPGRADED\r\nContent-Type: application\/vnd\.docker\.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp/,
    );
    const body = rest.join('\r\n\r\n');
    assert.ok(body.includes('\x01\0\0\0\0\0\0\x04out\n'), JSON.stringify(body));
    assert.ok(body.includes('\x02\0\0\0\0\0\0\x08trouble\n'), JSON.stringify(body));
    const inspected = (await engine.request('GET', `/exec/${id}/json`)).json as { ExitCode: number };
    assert.equal(inspected.ExitCode, 0);
  });

  it('bring input that came in the same packet as the request, and after, to the process', async () => {
    await using engine = await FakeEngine.start();
    const id = await start(engine, { Cmd: ['cat'], Tty: true, AttachStdin: true });
    let answered = false;
    const received = await raw(engine.socketPath, `${upgrade(id, '{"Tty":true}')}early `, (socket, sofar) => {
      if (answered || !sofar.includes('early')) return;
      answered = true;
      socket.end('late');
    });
    assert.match(received.toString(), /raw-stream\r\n[\s\S]*\r\n\r\nearly late$/);
  });

  it('wait for a body that comes after the headers, and leave what follows it to the session', async () => {
    await using engine = await FakeEngine.start();
    const id = await start(engine, { Cmd: ['cat'], Tty: true, AttachStdin: true });
    const body = '{"Tty":true}';
    const head = upgrade(id, body).slice(0, -body.length);
    const socket = connect(engine.socketPath);
    const received: Buffer[] = [];
    socket.on('data', (chunk) => received.push(chunk));
    socket.write(head);
    await delay(30);
    socket.write(body.slice(0, 5));
    await delay(30);
    socket.end(`${body.slice(5)}typed`);
    await new Promise((resolve) => socket.once('end', resolve));
    assert.match(Buffer.concat(received).toString(), /\r\n\r\ntyped$/);
  });

  it('let the client of a terminal leave by the detach keys', async () => {
    await using engine = await FakeEngine.start();
    const id = await start(engine, { Cmd: ['cat'], Tty: true, AttachStdin: true });
    const received = await raw(engine.socketPath, `${upgrade(id, '{"Tty":true}')}typed\x10\x11`);
    assert.match(received.toString(), /\r\n\r\n/);
    const inspected = (await engine.request('GET', `/exec/${id}/json`)).json as { Running: boolean };
    assert.equal(inspected.Running, true);
  });

  it('answer errors as plain HTTP before the upgrade', async () => {
    await using engine = await FakeEngine.start();
    const received = (await raw(engine.socketPath, upgrade('nope', '{}'))).toString();
    assert.match(received, /^HTTP\/1\.1 404 Not Found\r\n/);
    assert.match(received, /\{"message":"No such exec instance: nope"\}/);
  });

  it('come as an ordinary body when the client does not ask for an upgrade', async () => {
    await using engine = await FakeEngine.start();
    const id = await start(engine, { Cmd: ['echo', 'plain'] });
    const { status, text, headers } = await engine.request('POST', `/v1.41/exec/${id}/start`, { Detach: false });
    assert.deepEqual(
      [status, headers['content-type'], text],
      [200, 'application/vnd.docker.raw-stream', '\x01\0\0\0\0\0\0\x06plain\n'],
    );
    const again = await engine.request('POST', `/v1.41/exec/${id}/start`, {});
    assert.equal(again.status, 409);
  });

  it('end with the engine, within its grace', async () => {
    const engine = await FakeEngine.start();
    const id = await start(engine, { Cmd: ['sleep'], Tty: true });
    const session = raw(engine.socketPath, upgrade(id, '{"Tty":true}'));
    await delay(50);
    const before = Date.now();
    await engine[Symbol.asyncDispose]();
    await session;
    assert.ok(Date.now() - before < 5_000);
  });
});

describe('streams', () => {
  it('tell past events with since, and future ones until the time given', async () => {
    await using engine = await FakeEngine.start();
    const publish = (id: string, action: string): void =>
      engine.events.publish({
        type: 'container',
        action,
        scope: 'local',
        actor: { id, attributes: { image: 'ubuntu', name: id } },
      });
    publish('one', 'start');
    publish('two', 'die');
    const until = Date.now() / 1000 + 0.3;
    const filters = encodeURIComponent('{"container":{"one":true},"event":{"start":true,"stop":true}}');
    const answer = engine.request('GET', `/events?since=1&until=${until}&filters=${filters}`);
    await delay(100);
    publish('one', 'stop');
    publish('one', 'destroy');
    const lines = (await answer).text
      .trim()
      .split('\r\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual(
      lines.map(({ status, id, from, Type, Action, scope }) => [status, id, from, Type, Action, scope]),
      [
        ['start', 'one', 'ubuntu', 'container', 'start', 'local'],
        ['stop', 'one', 'ubuntu', 'container', 'stop', 'local'],
      ],
    );
    assert.match((await answer).text, /"timeNano":\d{19}/);
  });

  it('tell what changes in the cluster', async () => {
    await using engine = await FakeEngine.start();
    await engine.request('POST', '/swarm/init', {});
    // The engine looks for a new manager twice a second.
    await delay(700);
    const answer = engine.request('GET', `/events?until=${Date.now() / 1000 + 0.4}`);
    await delay(100);
    await engine.request('POST', '/services/create', { Name: 'web', TaskTemplate: { ContainerSpec: { Image: 'a' } } });
    const service = engine.swarm.control().findService('web');
    await engine.request('POST', `/services/web/update?version=${service.meta?.version?.index}`, {
      Name: 'web',
      TaskTemplate: { ContainerSpec: { Image: 'b' } },
      Mode: { Replicated: { Replicas: 3 } },
    });
    const lines = (await answer).text
      .trim()
      .split('\r\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual(
      lines.map(({ Type, Action, scope, Actor }) => [
        Type,
        Action,
        scope,
        (Actor as { Attributes: unknown }).Attributes,
      ]),
      [
        ['service', 'create', 'swarm', { name: 'web' }],
        [
          'service',
          'update',
          'swarm',
          { name: 'web', 'image.old': 'a', 'image.new': 'b', 'replicas.old': '1', 'replicas.new': '3' },
        ],
      ],
    );
  });

  it('stop when the client hangs up', async () => {
    await using engine = await FakeEngine.start();
    const listening = async (): Promise<number> =>
      ((await engine.request('GET', '/info')).json as { NEventsListener: number }).NEventsListener;
    const sent = request({ socketPath: engine.socketPath, path: '/events' });
    sent.on('error', () => {});
    sent.end();
    while ((await listening()) === 0) await delay(10);
    sent.destroy();
    while ((await listening()) > 0) await delay(10);
  });

  it('stop when a client hangs up that asked for another protocol and did not get it', async () => {
    await using engine = await FakeEngine.start();
    const socket = connect(engine.socketPath);
    socket.write('GET /events HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    const listeners = async () =>
      ((await engine.request('GET', '/info')).json as { NEventsListener: number }).NEventsListener;
    await new Promise((resolve) => socket.once('data', resolve));
    assert.equal(await listeners(), 1);
    socket.destroy();
    for (let round = 0; round < 50 && (await listeners()) > 0; round++) await delay(10);
    assert.equal(await listeners(), 0);
  });

  it('frame the logs of containers and services, with times and details', async () => {
    await using engine = await FakeEngine.start();
    engine.addContainer('1'.repeat(64), 'one', {
      id: 'n',
      name: 'net',
      subnets: [],
      internal: false,
      ingress: false,
      encrypted: false,
      labels: {},
      options: {},
      attachable: false,
    });
    engine.runtime.logEntries = [
      { stream: 'stderr', timestamp: '2026-11-25T01:02:03.5Z', line: Buffer.from('trouble\n') },
    ];
    const container = await engine.request('GET', '/v1.51/containers/one/logs?stderr=1&timestamps=1');
    assert.equal(container.headers['content-type'], 'application/vnd.docker.multiplexed-stream');
    assert.equal(container.text, '\x02\0\0\0\0\0\0\x272026-11-25T01:02:03.500000000Z trouble\n');
    engine.runtime.logFailure = new SkeinError('Unimplemented', 'configured logging driver does not support reading');
    const unread = await engine.request('GET', '/containers/one/logs?stdout=1');
    assert.deepEqual(
      [unread.status, unread.json],
      [501, { message: 'configured logging driver does not support reading' }],
    );
    const none = await engine.request('GET', '/containers/one/logs');
    assert.deepEqual(
      [none.status, none.json],
      [400, { message: 'Bad parameters: you must choose at least one stream' }],
    );
    await engine.request('POST', '/swarm/init', {});
    await engine.request('POST', '/services/create', {
      Name: 'web',
      TaskTemplate: { ContainerSpec: { Image: 'a', TTY: true } },
    });
    engine.swarm.logLines = [
      {
        nodeId: 'n1',
        serviceId: 's1',
        taskId: 't1',
        stream: 'stdout',
        timestamp: '',
        data: Buffer.from('hello\n'),
        attributes: {},
      },
    ];
    const service = await engine.request('GET', '/services/web/logs?stdout=1&details=1');
    assert.equal(
      service.text,
      'com.docker.swarm.node.id=n1,com.docker.swarm.service.id=s1,com.docker.swarm.task.id=t1 hello\n',
    );
  });

  it('give the progress of a pull line by line, and an error before it as HTTP', async () => {
    await using engine = await FakeEngine.start();
    const pulled = await engine.request('POST', '/images/create?fromImage=ubuntu&tag=latest');
    assert.deepEqual(pulled.text.trim().split('\r\n').length, 3);
    assert.equal((await engine.request('POST', '/images/create?fromImage=nope&tag=latest')).status, 404);
    const loaded = await engine.request('POST', '/images/load', 'x'.repeat(100_000), {
      'Content-Type': 'application/x-tar',
    });
    assert.match(loaded.text, /Loaded image: ubuntu:latest \(100000 bytes\)/);
  });
});
