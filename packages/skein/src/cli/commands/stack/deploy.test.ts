import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { asObject, at, type Json, type JsonObject } from '../../client/json.ts';
import { type Ending, RecordingEngine } from './testing.ts';

const application = join(import.meta.dirname, '../../../../../../e2e/application');
const directories: string[] = [];
after(() => {
  for (const directory of directories) rmSync(directory, { recursive: true });
});

const environment = { HOME: '/root', ONE: '1', EMPTY: '', TEXT: 'some text' };
/** What stacks here use and others have made. */
const outer = {
  networks: [{ Id: 'outer-id', Name: 'outer', Scope: 'swarm' }],
  secrets: [{ ID: 'sx-id', Spec: { Name: 'sx' } }],
};

interface Deployed {
  readonly endings: readonly Ending[];
  readonly requests: readonly { readonly line: string; readonly body: JsonObject }[];
}

/** Deploys files that lie in one directory, `times` over, and tells what was sent. */
async function deploy(
  files: Readonly<Record<string, string>>,
  options: { client?: 'docker' | 'skein'; times?: number; words?: readonly string[]; input?: string } = {},
): Promise<Deployed> {
  const directory = mkdtempSync(join(tmpdir(), 'skein-stack-'));
  directories.push(directory);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
  await using engine = await RecordingEngine.start(directory, structuredClone(outer));
  const paths = Object.keys(files).filter((name) => name.endsWith('.yml'));
  const words = ['deploy', '--detach=true', ...(options.words ?? []), ...paths.map((name) => `-c${directory}/${name}`)];
  const endings: Ending[] = [];
  for (let count = 0; count < (options.times ?? 1); count++)
    endings.push(await engine[options.client ?? 'skein']([...words, 'app'], environment, options.input));
  const hidden = <Value>(value: Value): Value =>
    JSON.parse(JSON.stringify(value).replaceAll(directory, '/files')) as Value;
  return { endings: hidden(endings), requests: hidden(engine.requests) };
}

/** The same for both clients: the order in which Docker goes through a stack is random, and empty means absent. */
function comparable({ endings, requests }: Deployed): string {
  const key = ({ line, body }: (typeof requests)[number]) => `${line} ${JSON.stringify(body.Name)}`;
  const value = {
    endings: endings.map(({ exitCode, stdout, stderr }) => ({
      exitCode,
      stdout: stdout.split('\n').sort(),
      stderr: stderr.split('\n').sort(),
    })),
    requests: requests
      .map(({ line, body }) => ({ line, body: withoutEmpty(body) }))
      .sort((left, right) =>
        key({ ...left, body: asObject(left.body) }) < key({ ...right, body: asObject(right.body) }) ? -1 : 1,
      ),
  };
  return JSON.stringify(value, undefined, 1);
}

function withoutEmpty(value: Json): Json {
  if (Array.isArray(value)) return value.map(withoutEmpty);
  if (value === null || typeof value !== 'object') return value;
  const isEmpty = (item: Json) =>
    item === null || item === '' || item === false || (typeof item === 'object' && Object.keys(item).length === 0);
  return Object.fromEntries(
    Object.entries(value)
      .map(([name, item]): [string, Json] => [name, withoutEmpty(item)])
      .filter(([, item]) => !isEmpty(item))
      .sort(([left], [right]) => (left < right ? -1 : 1)),
  );
}

const everything = `
x-common: &common
  environment: &env { SHARED: yes, NUM: 3, FLOAT: 1.5, NOTHING: , ONE: , EMPTY: "" }
services:
  a:
    <<: *common
    image: localhost:5000/a/b:1.2
    build: .
    container_name: aaa
    expose: ["80"]
    depends_on: [b]
    entrypoint: sh -c 'echo "a b"' "x y" z\\ w
    command: echo $$HOME \${ONE} \${NOPE:-deflt} \${EMPTY:-soft} \${EMPTY-hard} \${NOPE-hd} $TEXT
    env_file: [./one.env, ./two.env]
    hostname: host-{{.Task.Slot}}
    domainname: foo
    dns: 1.1.1.1
    dns_search: [example.com, other.com]
    extra_hosts: ["h1:1.2.3.4", "h3:::1"]
    cap_add: [net_admin, CAP_SYS_ADMIN]
    cap_drop: [ALL, NET_ADMIN]
    user: "1000:1000"
    working_dir: /w
    stop_signal: SIGINT
    stop_grace_period: 1m30s
    tty: true
    stdin_open: true
    read_only: true
    init: true
    isolation: default
    sysctls: { net.core.somaxconn: 1024 }
    ulimits: { nproc: 65535, nofile: { soft: 20000, hard: 40000 } }
    labels: [ "l1=v1", "l2", "l3=a=b" ]
    restart: on-failure:3
    logging: { driver: json-file, options: { max-size: 10m, n: 5 } }
    ports:
      - 3000
      - "8000:8000"
      - "9090-9091:8080-8081"
      - "9190-9192:89"
      - "8001:8001/udp"
      - { target: 10, published: 11, protocol: udp, mode: host }
      - target: 12
    volumes:
      - /anonymous
      - /opt/data:/data
      - .:/code
      - ./static:/static:ro
      - ~/configs:/etc/configs/:ro
      - datavolume:/first
      - datavolume:/second:nocopy,ro
      - /p:/q:rshared
      - { type: bind, source: ./opt, target: /opt, consistency: cached, bind: { propagation: rslave } }
      - { type: tmpfs, target: /t, tmpfs: { size: 10000 } }
      - { type: volume, source: ext, target: /e, volume: { nocopy: true } }
      - { type: volume, target: /anon }
    networks:
      some: { aliases: [al1, al3] }
      other:
      outer:
    secrets: [s1, { source: s2, target: t2, uid: "1", gid: "2", mode: 0400 }, sx]
    configs: [c1, { source: c2, target: /t2, mode: 0440 }]
    healthcheck: { test: echo hello, interval: 10s, timeout: 1s, retries: 5, start_period: 15s }
    deploy:
      mode: replicated
      replicas: 6
      endpoint_mode: dnsrr
      labels: { FOO: BAR, N: 3 }
      update_config: { parallelism: 3, delay: 10s, failure_action: continue, monitor: 60s, max_failure_ratio: 0.3, order: start-first }
      rollback_config: { parallelism: 0, delay: 10s }
      resources:
        limits: { cpus: '0.001', memory: 50M, pids: 100 }
        reservations: { cpus: '0.0001', memory: 20M, generic_resources: [ { discrete_resource_spec: { kind: gpu, value: 2 } } ] }
      restart_policy: { condition: on-failure, delay: 5s, max_attempts: 3, window: 120s }
      placement: { constraints: [node=foo, node.role==manager], max_replicas_per_node: 5, preferences: [ { spread: node.labels.az } ] }
  b:
    image: "b:\${ONE}"
    restart: on-failure:3
    deploy: { mode: global, resources: { limits: {} } , update_config: {} , restart_policy: {} }
    healthcheck: { disable: true }
    stop_grace_period: 0s
    networks: [some]
  c: { image: "c@sha256:0123456789012345678901234567890123456789012345678901234567890123", restart: always }
  d: { image: docker.io/library/d, deploy: { mode: replicated-job, replicas: 3 }, environment: ["A=1", B, ONE, "EMPTY="] }
  e: { image: e, deploy: { mode: global-job }, restart: "no", healthcheck: { test: [CMD, x] } }
  f: { image: f, deploy: { replicas: 0, restart_policy: { max_attempts: 0, delay: 0s } }, dns: [], labels: {}, networks: {} }
networks:
  some:
    driver: overlay
    driver_opts: { foo: bar, baz: 1 }
    ipam: { driver: default, config: [ { subnet: 172.28.0.0/16 } ] }
    internal: true
    attachable: true
    labels: [x=y]
  other: { name: real-other }
  outer: { external: true }
  unused: {}
volumes:
  datavolume: { driver: local, driver_opts: { type: none, n: 3 }, labels: { a: b } }
  ext: { external: true, name: real-ext }
secrets:
  s1: { file: ./file, labels: { a: b } }
  s2: { file: ./file, name: named, template_driver: golang }
  sx: { external: true }
configs:
  c1: { file: ./file }
  c2: { file: ./file, name: "c2_\${ONE}", template_driver: golang }
`;
const everythingFiles = {
  'stack.yml': everything,
  file: 'data\n',
  'one.env': 'A=1\n# a comment\n\nB=two words\nONE\nUNSET\nEMPTY=\n',
  'two.env': 'B=3\nSHARED=file\n',
};

const web = (fields: string, more = '') => `services: { web: { image: a, ${fields} } }\n${more}`;
/** Two files, the second over the first. */
const pairsOfFiles: Readonly<Record<string, readonly [string, string]>> = {
  'commands replace each other': [web('command: a b'), web('command: c')],
  'ports by what they publish': [web('ports: ["80:1", "81:2"]'), web('ports: ["80:3", "90:4"]')],
  'variables by name': [web('environment: { A: 1, B: 2 }'), web('environment: { B: 3, C: 4 }')],
  'volumes by target': [web('volumes: ["data:/x"]', 'volumes: { data: }'), web('volumes: ["/a:/x:ro", "/b:/b"]')],
  'secrets by source': [
    web('secrets: [sx]', 'secrets: { sx: { external: true } }'),
    web('secrets: [{ source: sx, target: t }]'),
  ],
  'lists one behind the other': [web('dns: [a, b], cap_add: [a]'), web('dns: [c], cap_add: [b]')],
  'options of one log driver': [
    web('logging: { driver: x, options: { a: b } }'),
    web('logging: { options: { c: d } }'),
  ],
  'another log driver': [
    web('logging: { driver: x, options: { a: b } }'),
    web('logging: { driver: y, options: { c: d } }'),
  ],
  'aliases replace each other': [
    web('networks: { n: { aliases: [a] } }', 'networks: { n: , m: }'),
    web('networks: { n: { aliases: [b] }, m: }'),
  ],
  'deploy field by field': [
    web(
      'deploy: { replicas: 2, labels: { a: b }, placement: { constraints: [a==b] }, update_config: { parallelism: 2, delay: 1s } }',
    ),
    web('deploy: { replicas: 0, labels: { c: d }, placement: { constraints: [c==d] }, update_config: { delay: 2s } }'),
  ],
  'ulimits by name': [web('ulimits: { nofile: 3, nproc: 4 }'), web('ulimits: { nofile: { soft: 5, hard: 6 } }')],
  'networks of the stack as a whole': [
    web('networks: [n]', 'networks: { n: { driver: a, labels: { a: b } } }'),
    web('networks: [n]', 'networks: { n: { labels: { c: d }, attachable: true } }'),
  ],
  'services by name': [
    'services: { web: { image: a }, two: { image: b } }',
    'services: { two: { image: c }, three: { image: d } }',
  ],
};

const hasDocker = spawnSync('docker', ['stack', 'deploy', '--help'], { encoding: 'utf8' }).stdout?.includes('--detach');

describe('stack deploy sends what docker sends', {
  skip: !hasDocker && 'no docker client that knows --detach here',
}, () => {
  const same = async (files: Readonly<Record<string, string>>, times = 1) => {
    const [docker, skein] = await Promise.all(
      (['docker', 'skein'] as const).map(async (client) => comparable(await deploy(files, { client, times }))),
    );
    assert.equal(skein, docker);
  };

  it('of every option, at first and when it is there', () => same(everythingFiles, 2));

  it('of the application of the end-to-end tests', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'skein-stack-'));
    directories.push(directory);
    cpSync(application, directory, { recursive: true });
    await using engine = await RecordingEngine.start(directory);
    await using other = await RecordingEngine.start(mkdtempSync(join(directory, 'other-')));
    const words = ['deploy', '--detach=true', `--compose-file=${directory}/stack.yml`, 'app'];
    const endings = [await engine.skein(words, environment), await other.docker(words, environment)];
    assert.deepEqual(
      endings.map(({ exitCode }) => exitCode),
      [0, 0],
      JSON.stringify(endings),
    );
    const [skein, docker] = [engine, other].map(({ requests }) => comparable({ endings: [], requests }));
    assert.equal(skein, docker);
  });

  for (const [name, [first, second]] of Object.entries(pairsOfFiles))
    it(`of two files: ${name}`, () => same({ 'a.yml': first, 'b.yml': second }));
});

describe('stack deploy', () => {
  it('makes networks, secrets, configs and services, and says so', async () => {
    const { endings, requests } = await deploy(everythingFiles);
    assert.equal(endings[0]?.exitCode, 0, endings[0]?.stderr);
    assert.equal(
      endings[0].stdout,
      `Creating network app_some
Creating network real-other
Creating network app_default
Creating secret app_s1
Creating secret named
Creating config app_c1
Creating config c2_1
${['a', 'b', 'c', 'd', 'e', 'f'].map((name) => `Creating service app_${name}\n`).join('')}`,
    );
    assert.equal(
      endings[0].stderr,
      `Ignoring unsupported options: build, domainname, restart

Ignoring deprecated options:

container_name: Setting the container name is not supported.

expose: Exposing ports is unnecessary - services on the same network can access each other's containers on any port.

`,
    );
    const spec = requests.find(({ body }) => body.Name === 'app_a')?.body ?? {};
    const container = at(spec, 'TaskTemplate', 'ContainerSpec');
    assert.deepEqual(at(container, 'Args'), ['echo', '$HOME', '1', 'deflt', 'soft', 'hd', 'some', 'text']);
    assert.deepEqual(at(container, 'Env'), [
      'A=1',
      'B=3',
      'EMPTY=',
      'FLOAT=1.5',
      'NOTHING',
      'NUM=3',
      'ONE=1',
      'SHARED=yes',
    ]);
    assert.deepEqual(spec.Labels, {
      FOO: 'BAR',
      N: '3',
      'com.docker.stack.namespace': 'app',
      'com.docker.stack.image': 'localhost:5000/a/b:1.2',
    });
  });

  it('reads standard input, and prunes what the file does not name', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'skein-stack-'));
    directories.push(directory);
    await using engine = await RecordingEngine.start(directory);
    const words = ['deploy', '--detach=true', '--prune', '-c', '-', 'app'];
    await engine.skein(words, environment, 'services: { one: { image: a }, two: { image: b } }');
    const { stdout, exitCode } = await engine.skein(words, environment, 'services: { two: { image: b } }');
    assert.equal(stdout, 'Removing service app_one\nUpdating service app_two (id: services-app_two)\n');
    assert.equal(exitCode, 0);
    assert.ok(engine.requests.some(({ line }) => line === 'DELETE /services/services-app_one'));
  });

  it('keeps the image that a former deployment has resolved, unless the file asks for another', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'skein-stack-'));
    directories.push(directory);
    const service = {
      ID: 'svc',
      Version: { Index: 7 },
      Spec: {
        Name: 'app_web',
        Labels: { 'com.docker.stack.image': 'web' },
        TaskTemplate: { ForceUpdate: 3, ContainerSpec: { Image: 'web:latest@sha256:abc' } },
      },
    };
    await using engine = await RecordingEngine.start(directory, { services: [service] });
    const deployed = async (image: string) => {
      await engine.skein(
        ['deploy', '--resolve-image=changed', '-c-', 'app'],
        environment,
        `services: { web: { image: ${image} } }`,
      );
      return at(engine.requests.at(-1)?.body, 'TaskTemplate');
    };
    const kept = await deployed('web');
    assert.equal(at(kept, 'ContainerSpec', 'Image'), 'web:latest@sha256:abc');
    assert.equal(at(kept, 'ForceUpdate'), 3);
    assert.equal(at(await deployed('web:2'), 'ContainerSpec', 'Image'), 'web:2');
  });

  it('takes from several files the later value, also where it is false, zero or empty', async () => {
    const first = web('tty: true, user: a, init: true, stop_grace_period: 5s, healthcheck: { test: a, retries: 3 }');
    const second = web('tty: false, user: "", init: false, stop_grace_period: 0s, healthcheck: { test: b }');
    const { requests } = await deploy({ 'a.yml': first, 'b.yml': second });
    const container = at(requests.at(-1)?.body, 'TaskTemplate', 'ContainerSpec');
    assert.deepEqual(container, {
      Image: 'a:latest',
      Labels: { 'com.docker.stack.namespace': 'app' },
      Healthcheck: { Test: ['CMD-SHELL', 'b'], Retries: 3 },
      Init: false,
      StopGracePeriod: 0,
      Privileges: {},
    });
  });
});

/** A file, and what is said of it. */
const faults: readonly (readonly [file: string, message: string])[] = [
  ['[]', 'top-level object must be a mapping'],
  ['a: [', 'yaml: line 1: Flow sequence in block collection must be sufficiently indented and end with a ]'],
  ['version: "2.4"', 'unsupported Compose file version: 2.4'],
  ['foo: 1', '(root) Additional property foo is not allowed'],
  ['services: []', 'services must be a mapping'],
  ['services: { "a b": { image: a } }', 'services Additional property a b is not allowed'],
  ['services: { web: }', 'services.web must be a mapping'],
  ['services: { web: {} }', 'invalid image reference for service web: no image specified'],
  [
    'services: { web: { image: Web } }',
    'invalid image reference for service web: invalid reference format: repository name (library/Web) must be lowercase',
  ],
  [web('foo: 1'), 'services.web Additional property foo is not allowed'],
  [web('ports: 80'), 'services.web.ports must be a list'],
  [web('ports: ["80:x"]'), "services.web.ports.0 Does not match format 'ports'"],
  [web('ports: [{ target: "80" }]'), 'services.web.ports.0.target must be a integer'],
  [web('environment: { A: true }'), 'services.web.environment.A must be a string, number or null'],
  [web('dns: [a, a]'), 'services.web.dns array items[0,1] must be unique'],
  [web('volumes: [{ target: /x }]'), 'services.web.volumes.0 type is required'],
  [web('stop_grace_period: 5x'), "services.web.stop_grace_period Does not match format 'duration'"],
  [web('deploy: { replicas: "3" }'), 'services.web.deploy.replicas must be a integer'],
  [
    web('deploy: { mode: global, replicas: 2 }'),
    'service web: replicas can only be used with replicated or replicated-job mode',
  ],
  [web('networks: [x]'), 'service web: undefined network "x"'],
  [web('volumes: ["data:/x"]'), 'service web: undefined volume "data"'],
  [web('secrets: [x]'), 'service web: undefined secret "x"'],
  [
    web('networks: [n]', 'networks: { n: { external: true } }'),
    'network "n" is declared as external, but could not be found. You need to create a swarm-scoped network before the stack is deployed',
  ],
  [web('configs: [c]', 'configs: { c: { external: true } }'), 'service web: config not found: c'],
  [web('', 'configs: { c: { file: /nope } }'), 'open /nope: no such file or directory'],
  [
    web('hostname: "$"'),
    'invalid interpolation format for services.web.hostname: "$"; you may need to escape any $ with another $',
  ],
  [
    web(`hostname: "\${X:?must-be}"`),
    'invalid interpolation format for services.web.hostname: "required variable X is missing a value: must-be"; you may need to escape any $ with another $',
  ],
  [
    web('tty: "$TEXT"'),
    'error while interpolating services.web.tty: failed to cast to expected type: invalid boolean: some text',
  ],
  [
    web('extends: x, cpuset: "1"'),
    `Compose file contains unsupported options:

cpuset: Set resource limits using deploy.resources

extends: Support for \`extends\` is not implemented yet.
`,
  ],
];

describe('stack deploy says what is wrong', () => {
  for (const [file, message] of faults)
    it(message.split('\n')[0] ?? '', async () => {
      const { endings, requests } = await deploy({ 'stack.yml': file });
      assert.deepEqual(
        { exitCode: endings[0]?.exitCode, stderr: endings[0]?.stderr },
        { exitCode: 1, stderr: `${message}\n` },
      );
      assert.ok(!requests.some(({ line }) => line.startsWith('POST /services')));
    });
});
