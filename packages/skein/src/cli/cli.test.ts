import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { text as readText } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import { type DaemonSettings, daemonCommand, run } from './index.ts';

const nodeId = 'jkz89lcd7q5mi484fxqi5gaeo';
const node = {
  ID: nodeId,
  Version: { Index: 9 },
  CreatedAt: '2026-11-23T23:50:44.148590267Z',
  Spec: { Labels: {}, Role: 'manager', Availability: 'active' },
  Description: { Hostname: 'node1', Engine: { EngineVersion: '20.10.24' } },
  Status: { State: 'ready', Addr: '172.31.1.5' },
  ManagerStatus: { Leader: true, Reachability: 'reachable', Addr: '172.31.1.5:2377' },
};
const container = {
  Id: '17f596ab61cac506a6fc75a0b58fcf08395c40f557fb92f1e921f7a3214a2cfe',
  Names: ['/test.2.fv165ve6g5s058z20im8qesnw'],
  Image: 'ubuntu:latest',
  Command: 'sleep infinity',
  Created: 0,
  Ports: [{ PrivatePort: 80, PublicPort: 8080, Type: 'tcp', IP: '0.0.0.0' }],
  Labels: {},
  State: 'running',
  Status: 'Up 5 seconds',
  NetworkSettings: { Networks: { 'uber-net': { IPAddress: '10.0.1.4' } } },
};
const task = (slot: number) => ({
  ID: `task${slot}aaaaaaaaaaaaaaaaaaaa`,
  ServiceID: 'svc',
  Slot: slot,
  NodeID: nodeId,
  DesiredState: 'running',
  CreatedAt: '2026-11-23T23:50:44Z',
  Spec: { ContainerSpec: { Image: 'ubuntu:latest' } },
  Status: { State: 'running', Timestamp: new Date().toISOString() },
});
const service = {
  ID: 'svc',
  Version: { Index: 4 },
  Spec: { Name: 'test', Mode: { Replicated: { Replicas: 2 } }, UpdateConfig: { Monitor: 1_000_000 }, TaskTemplate: {} },
};

/** Method and path → answer. */
const answers: Readonly<Record<string, unknown>> = {
  'POST /swarm/init': nodeId,
  'GET /swarm': { JoinTokens: { Worker: 'SWMTKN-1-w', Manager: 'SWMTKN-1-m' }, Version: { Index: 1 }, Spec: {} },
  [`GET /nodes/${nodeId}`]: node,
  'GET /nodes': [node],
  'GET /info': { Swarm: { NodeID: nodeId, ControlAvailable: true } },
  'GET /containers/json': [container],
  'GET /containers/17f/json': container,
  'POST /containers/17f/exec': { Id: 'e1' },
  'GET /exec/e1/json': { ExitCode: 7 },
  'POST /services/create': { ID: 'svc' },
  'GET /services/svc': service,
  'GET /tasks': [task(1), task(2)],
  'GET /volumes': {
    Volumes: [
      { Name: 'v10', Driver: 'local', Scope: 'local', Mountpoint: '/m10', Labels: { a: 'b' } },
      { Name: 'v9', Driver: 'local', Scope: 'local', Mountpoint: '/m9', Labels: null },
    ],
  },
  'POST /volumes/create': { Name: 'made' },
  'POST /volumes/prune': { VolumesDeleted: ['v9'], SpaceReclaimed: 1500 },
  'POST /containers/prune': { ContainersDeleted: null, SpaceReclaimed: 0 },
  'POST /networks/prune': { NetworksDeleted: ['old'] },
  'POST /images/prune': { ImagesDeleted: null, SpaceReclaimed: 500 },
  'GET /containers/17f/changes': [
    { Kind: 0, Path: '/etc' },
    { Kind: 1, Path: '/etc/new' },
    { Kind: 2, Path: '/gone' },
  ],
  'POST /containers/17f/update': { Warnings: ['a warning'] },
  'GET /containers/17f/stats': {
    id: container.Id,
    name: '/test',
    cpu_stats: { cpu_usage: { total_usage: 300 }, system_cpu_usage: 2000, online_cpus: 2 },
    precpu_stats: { cpu_usage: { total_usage: 100 }, system_cpu_usage: 1000 },
    memory_stats: { usage: 3_145_728, limit: 10_485_760, stats: { total_inactive_file: 1_048_576 } },
    networks: { eth0: { rx_bytes: 1000, tx_bytes: 1 }, eth1: { rx_bytes: 234, tx_bytes: 1 } },
    blkio_stats: {
      io_service_bytes_recursive: [
        { op: 'read', value: 4096 },
        { op: 'Write', value: 1 },
      ],
    },
    pids_stats: { current: 3 },
  },
  'GET /system/df': {
    LayersSize: 3000,
    Images: [
      { Id: 'sha256:aa', RepoTags: ['ubuntu:latest'], Size: 2000, SharedSize: 0, Containers: 1, Created: 1 },
      { Id: 'sha256:bb', RepoTags: [], RepoDigests: [], Size: 1000, SharedSize: 0, Containers: 0, Created: 1 },
    ],
    Containers: [
      { ...container, SizeRw: 10 },
      { ...container, State: 'exited', SizeRw: 30 },
    ],
    Volumes: [{ Name: 'v9', UsageData: { RefCount: 0, Size: 500 } }],
    BuildCache: null,
  },
  'GET /services': [
    { ...service, Spec: { ...service.Spec, Labels: { 'com.docker.stack.namespace': 'shop' } } },
    { ...service, ID: 'svc2', Spec: { ...service.Spec, Labels: { 'com.docker.stack.namespace': 'shop' } } },
  ],
  'GET /secrets': [],
  'GET /configs': [],
  'GET /networks': [{ Id: 'n1', Name: 'shop_default' }],
  'DELETE /services/svc': {},
  'DELETE /networks/n1': {},
  'POST /networks/create': { Id: 'ik1sax5xn4gsi28plohu63hpy', Warning: '' },
};

const directory = mkdtempSync(join(tmpdir(), 'skein-cli-'));
const socketPath = join(directory, 'api.sock');
const requests: { line: string; body: string }[] = [];
let server: Server;

function frame(stream: number, words: string): Buffer {
  const head = Buffer.from([stream, 0, 0, 0, 0, 0, 0, words.length]);
  return Buffer.concat([head, Buffer.from(words)]);
}

before(async () => {
  server = createServer(async (request: IncomingMessage, response) => {
    const url = new URL(request.url ?? '/', 'http://skein');
    const line = `${request.method} ${url.pathname.replace(/^\/v[\d.]+/, '')}`;
    requests.push({ line: `${line}${url.search}`, body: await readText(request) });
    const answer = answers[line];
    if (line === 'GET /_ping') response.setHeader('Api-Version', '1.41').end('OK');
    else if (answer !== undefined) response.end(JSON.stringify(answer));
    else response.writeHead(404).end(JSON.stringify({ message: `no ${line}` }));
  });
  server.on('upgrade', (_request, socket) => {
    socket.write('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n');
    socket.write(frame(1, `hello`));
    socket.end(frame(2, 'oops'));
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
});

after(() => {
  server.close();
  server.closeAllConnections();
  rmSync(directory, { recursive: true, force: true });
});

async function skein(words: readonly string[], input = ''): Promise<{ code: number; out: string; err: string }> {
  const out = new PassThrough();
  const err = new PassThrough();
  const streams = { stdin: Readable.from(input ? [Buffer.from(input)] : []), out, err };
  const code = await run(words, {
    ...streams,
    environment: { DOCKER_HOST: `unix://${socketPath}` },
    signal: new AbortController().signal,
  });
  out.end();
  err.end();
  return { code, out: await readText(out), err: await readText(err) };
}

test('swarm init tells how others join, with its own name', async () => {
  const { code, out } = await skein(['swarm', 'init', '--advertise-addr=172.31.1.5']);
  assert.equal(code, 0);
  assert.equal(
    out,
    `Swarm initialized: current node (${nodeId}) is now a manager.

To add a worker to this swarm, run the following command:

    skein swarm join --token SWMTKN-1-w 172.31.1.5:2377

`,
  );
  const sent = JSON.parse(requests.findLast(({ line }) => line === 'POST /swarm/init')?.body ?? '{}');
  assert.equal(sent.ListenAddr, '0.0.0.0:2377');
  assert.equal(sent.AdvertiseAddr, '172.31.1.5');
});

test('node ls marks the node that answers', async () => {
  const { out } = await skein(['node', 'ls']);
  assert.equal(
    out,
    `ID                            HOSTNAME   STATUS    AVAILABILITY   MANAGER STATUS   ENGINE VERSION
${nodeId} *   node1     Ready     Active         Leader           20.10.24
`.replace('node1     R', 'node1      R'),
  );
});

test('ps lists containers, container inspect runs a template', async () => {
  const { out } = await skein(['ps', '--format', 'table {{.ID}}\\t{{.Ports}}\\t{{.Networks}}']);
  assert.equal(out, 'CONTAINER ID   PORTS                  NETWORKS\n17f596ab61ca   0.0.0.0:8080->80/tcp   uber-net\n');
  const inspect = ['container', 'inspect', '--format={{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}', '17f'];
  assert.equal((await skein(inspect)).out, '10.0.1.4\n');
});

test('service create warns about the digest, waits and says converged', async () => {
  const words = ['service', 'create', '--name', 'test', '--replicas', '2', 'ubuntu', 'sleep', '--infinity'];
  const { code, out, err } = await skein(words);
  assert.equal(code, 0, err);
  assert.match(err, /^image ubuntu:latest could not be accessed on a registry to record\nits digest\./);
  assert.match(
    out,
    /^svc\noverall progress: 0 out of 2 tasks\n1\/2: {2}\n2\/2: {2}\noverall progress: 2 out of 2 tasks\n/,
  );
  assert.match(out, /verify: Service svc converged\n$/);
  const sent = JSON.parse(requests.findLast(({ line }) => line === 'POST /services/create')?.body ?? '{}');
  assert.deepEqual(sent.TaskTemplate.ContainerSpec.Args, ['sleep', '--infinity']);
  assert.deepEqual(sent.Mode, { Replicated: { Replicas: 2 } });
});

test('exec shows both streams and ends with the code of the process', async () => {
  assert.deepEqual(await skein(['exec', '17f', 'ls', '-l']), { code: 7, out: 'hello', err: 'oops' });
  const sent = JSON.parse(requests.findLast(({ line }) => line === 'POST /containers/17f/exec')?.body ?? '{}');
  assert.deepEqual(sent.Cmd, ['ls', '-l']);
});

test('run without the terminal that it is to have makes no container', async () => {
  const sent = requests.length;
  const { code, err } = await skein(['run', '-it', 'ubuntu']);
  assert.deepEqual([code, err], [1, 'the input device is not a TTY\n']);
  assert.deepEqual(requests.slice(sent), []);
});

test('network create prints the ID; filters and repeated flags reach the engine', async () => {
  const { out } = await skein([
    'network',
    'create',
    '-d',
    'overlay',
    '--subnet',
    '10.1.0.0/24',
    '-o',
    'a=b',
    'uber-net',
  ]);
  assert.equal(out, 'ik1sax5xn4gsi28plohu63hpy\n');
  const sent = JSON.parse(requests.findLast(({ line }) => line === 'POST /networks/create')?.body ?? '{}');
  assert.deepEqual(sent.IPAM.Config, [{ Subnet: '10.1.0.0/24' }]);
  assert.deepEqual(sent.Options, { a: 'b' });
  await skein(['ps', '-f', 'name=a', '-f', 'name=b']);
  const filters = new URLSearchParams(requests.at(-1)?.line.split('?')[1]).get('filters');
  assert.equal(filters, '{"name":{"a":true,"b":true}}');
});

const printed: readonly (readonly [string, string])[] = [
  ['volume ls', 'DRIVER    VOLUME NAME\nlocal     v9\nlocal     v10\n'],
  ['volume ls -q', 'v9\nv10\n'],
  [
    'volume ls --format json',
    `{"Availability":"N/A","Driver":"local","Group":"N/A","Labels":"","Links":"N/A","Mountpoint":"/m9","Name":"v9","Scope":"local","Size":"N/A","Status":"N/A"}
{"Availability":"N/A","Driver":"local","Group":"N/A","Labels":"a=b","Links":"N/A","Mountpoint":"/m10","Name":"v10","Scope":"local","Size":"N/A","Status":"N/A"}
`,
  ],
  ['volume create -d local made', 'made\n'],
  ['volume prune -f', 'Deleted Volumes:\nv9\n\nTotal reclaimed space: 1.5kB\n'],
  ['diff 17f', 'C /etc\nA /etc/new\nD /gone\n'],
  ['update --memory 64m --restart always 17f', '17f\n'],
  [
    'stats --no-stream 17f',
    `CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O       BLOCK I/O    PIDS
17f596ab61ca   test      40.00%    2MiB / 10MiB        20.00%    1.23kB / 2B   4.1kB / 1B   3
`,
  ],
  [
    'system df',
    `TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE
Images          2         1         3kB       1kB (33%)
Containers      2         1         40B       30B (75%)
Local Volumes   1         0         500B      500B (100%)
Build Cache     0         0         0B        0B
`,
  ],
  ['system prune -f --volumes', 'Deleted Networks:\nold\n\nDeleted Volumes:\nv9\n\nTotal reclaimed space: 2kB\n'],
  ['stack ls', 'NAME      SERVICES\nshop      2\n'],
];
for (const [line, expected] of printed) {
  test(`skein ${line} prints what docker prints`, async () => {
    const { code, out, err } = await skein(line.split(' '));
    assert.equal(out, expected, err);
    assert.equal(code, 0, err);
  });
}

test('stack rm names what goes, and what could not', async () => {
  const { code, out, err } = await skein(['stack', 'rm', 'shop']);
  assert.equal(out, 'Removing service test\nRemoving service test\nRemoving network shop_default\n');
  assert.equal(code, 1);
  assert.match(err, /^Failed to remove service test: Error response from daemon: no DELETE \/services\/svc2\n$/);
});

test('stats --no-stream leaves out a container that has gone since it was listed', async () => {
  const { code, out, err } = await skein(['stats', '--no-stream', '--format={{.Name}}']);
  assert.deepEqual({ code, out, err }, { code: 0, out: '', err: '' });
});

test('stats without a name that exists says so; system prune asks first', async () => {
  const { code, err } = await skein(['stats', '--no-stream', 'nope']);
  assert.equal(code, 1);
  assert.match(err, /^Error response from daemon: no GET/);
  const asked = await skein(['system', 'prune'], 'n\n');
  assert.equal(
    asked.out,
    `WARNING! This will remove:
  - all stopped containers
  - all networks not used by at least one container
  - all dangling images

Are you sure you want to continue? [y/N] `,
  );
});

test("errors go to standard error in the engine's words", async () => {
  assert.deepEqual(await skein(['service', 'rm', 'nope']), {
    code: 1,
    out: '',
    err: 'Error response from daemon: no DELETE /services/nope\n',
  });
});

test('a daemon that is down is named with the remedy', async () => {
  const { code, err } = await skein(['-H', 'unix:///nonexistent/skein.sock', 'ps']);
  assert.equal(code, 1);
  assert.equal(
    err,
    'Cannot connect to the Skein daemon at unix:///nonexistent/skein.sock. Is the daemon running? Start it with: skein daemon\n',
  );
});

const usage: readonly (readonly [string, number, RegExp])[] = [
  [
    'service create',
    1,
    /^skein: 'skein service create' requires at least 1 argument\n\nUsage: {2}skein service create \[OPTIONS\]/,
  ],
  ['foo', 1, /^skein: unknown command: skein foo\n\nRun 'skein --help' for more information\n$/],
  ['ps --foo', 125, /^unknown flag: --foo\n\nUsage: {2}skein ps \[OPTIONS\]\n\nRun 'skein ps --help'/],
  ['swarm join-token foo', 1, /^unknown role foo\n$/],
  ['ps --format {{.Foo', 1, /^failed to parse template: template: :1: unclosed action\n$/],
];
for (const [line, code, pattern] of usage) {
  test(`skein ${line} says what is wrong and ends with ${code}`, async () => {
    const result = await skein(line.split(' '));
    assert.match(result.err, pattern);
    assert.equal(result.code, code);
  });
}

test('help shows usage, aliases and flags', async () => {
  const { out, code } = await skein(['ps', '--help']);
  assert.equal(code, 0);
  assert.match(
    out,
    /^Usage: {2}skein ps \[OPTIONS\]\n\nList containers\n\nAliases:\n {2}skein container ls, .*skein ps\n\nOptions:\n {2}-a, --all {13}Show all/,
  );
  assert.match((await skein([])).out, /Swarm Commands:\n {2}config {6}Manage Swarm configs/);
});

test('the daemon command reads its flags', async () => {
  let seen: DaemonSettings | undefined;
  const out = new PassThrough();
  const streams = { stdin: Readable.from([]), out, err: out, environment: {}, signal: new AbortController().signal };
  const command = daemonCommand(streams, async (settings) => {
    seen = settings;
  });
  assert.equal(
    await run(['daemon', '--data-root', '/d', '-H', 'unix:///a', '-H', 'tcp://b:1', '--label', 'x=y'], streams, [
      command,
    ]),
    0,
  );
  assert.deepEqual(seen, {
    dataRoot: '/d',
    execRoot: '/run/skein',
    hosts: ['unix:///a', 'tcp://b:1'],
    logLevel: 'info',
    labels: ['x=y'],
    fastPath: 'auto',
    connectTime: 'auto',
  });
  assert.equal(await run(['daemon', '--fast-path', 'off'], streams, [command]), 0);
  assert.equal(seen?.fastPath, 'off');
  assert.notEqual(await run(['daemon', '--fast-path', 'on'], streams, [command]), 0);
  assert.equal(await run(['daemon', '--connect-time', 'off'], streams, [command]), 0);
  assert.equal(seen?.connectTime, 'off');
});
