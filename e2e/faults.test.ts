/** Bad input, on a manager and on a worker: Docker's words and status codes, and nothing half-made. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { callApi } from './support/api.ts';
import { Cluster, eventually } from './support/cluster.ts';

const worker503 =
  "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.";
const already =
  'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.';
const ubuntu = { TaskTemplate: { ContainerSpec: { Image: 'ubuntu' } } };

/** Who is asked, what, and what a dockerd 20.10 answers (status and message) to it. */
const asDocker: readonly [
  host: 'node1' | 'node2',
  method: string,
  path: string,
  body: object | string | undefined,
  status: number,
  message: string | RegExp,
][] = [
  ['node2', 'GET', '/services', undefined, 503, worker503],
  ['node1', 'POST', '/swarm/init', { ListenAddr: '0.0.0.0:2377' }, 503, already],
  ['node2', 'POST', '/swarm/init', { ListenAddr: '0.0.0.0:2377' }, 503, already],
  [
    'node2',
    'POST',
    '/swarm/join',
    { ListenAddr: '0.0.0.0:2377', RemoteAddrs: ['172.31.1.5:2377'], JoinToken: 'bad' },
    503,
    already,
  ],
  ['node2', 'GET', '/nodes', undefined, 503, worker503],
  [
    'node1',
    'POST',
    '/networks/create',
    { Name: 'uber-net', Driver: 'overlay', CheckDuplicate: true },
    409,
    'network with name uber-net already exists',
  ],
  [
    'node2',
    'POST',
    '/networks/create',
    { Name: 'x1', Driver: 'overlay' },
    403,
    'Cannot create a multi-host network from a worker node. Please create the network from a manager node.',
  ],
  ['node1', 'GET', '/networks/nope', undefined, 404, 'network nope not found'],
  ['node2', 'GET', '/networks/nope', undefined, 404, 'network nope not found'],
  ['node1', 'GET', '/services/nope', undefined, 404, 'service nope not found'],
  ['node2', 'GET', '/services/nope', undefined, 503, worker503],
  ['node1', 'GET', '/tasks/nope', undefined, 404, 'task nope not found'],
  ['node1', 'GET', '/containers/nope/json', undefined, 404, 'No such container: nope'],
  ['node1', 'GET', '/images/nope/json', undefined, 404, /No such image: nope:latest$/i],
  ['node1', 'POST', '/services/create', {}, 400, 'mismatched Runtime and *Spec fields'],
  ['node2', 'POST', '/services/create', {}, 503, worker503],
  [
    'node1',
    'DELETE',
    '/networks/uber-net',
    undefined,
    400,
    /^rpc error: code = FailedPrecondition desc = network [0-9a-z]{25} is in use by service [0-9a-z]{25}$/,
  ],
  ['node1', 'POST', '/containers/create', {}, 400, 'Config cannot be empty in order to create a container'],
  [
    'node1',
    'POST',
    '/services/create',
    { Name: 'bad name!', ...ubuntu },
    400,
    'rpc error: code = InvalidArgument desc = name must be valid as a DNS name component',
  ],
  [
    'node1',
    'POST',
    '/services/create',
    { Name: 'a', TaskTemplate: { ContainerSpec: { Image: '' } } },
    400,
    'rpc error: code = InvalidArgument desc = ContainerSpec: image reference must be provided',
  ],
  [
    'node1',
    'POST',
    '/services/create',
    { Name: 'a', TaskTemplate: { ContainerSpec: { Image: 'ubuntu' }, Networks: [{ Target: 'nope' }] } },
    500,
    'network nope not found',
  ],
  [
    'node1',
    'POST',
    '/services/create',
    { Name: 'test', ...ubuntu },
    409,
    'rpc error: code = AlreadyExists desc = name conflicts with an existing object: service test already exists',
  ],
  [
    'node1',
    'POST',
    '/services/create',
    { Name: 'a', TaskTemplate: { ContainerSpec: { Image: 'UPPER CASE' } } },
    400,
    'rpc error: code = InvalidArgument desc = ContainerSpec: "UPPER CASE" is not a valid repository/tag',
  ],
  ['node1', 'POST', '/services/create', 'notjson', 400, "invalid character 'o' in literal null (expecting 'u')"],
  [
    'node1',
    'POST',
    '/networks/create',
    { Name: 'n2', Driver: 'overlay', IPAM: { Config: [{ Subnet: 'nonsense' }] } },
    500,
    'Invalid subnet nonsense : invalid CIDR address: nonsense',
  ],
  ['node1', 'POST', '/networks/create', { Name: '', Driver: 'overlay' }, 500, 'invalid name: '],
  ['node1', 'POST', '/networks/create', { Name: 'n3', Driver: 'nosuch' }, 404, 'plugin "nosuch" not found'],
  [
    'node1',
    'POST',
    '/networks/create',
    { Name: 'n4', Driver: 'overlay', IPAM: { Config: [{ Subnet: '10.9.0.0/30', Gateway: '10.10.0.1' }] } },
    400,
    'rpc error: code = InvalidArgument desc = ipam configuration: subnet 10.9.0.0/30 does not contain gateway 10.10.0.1',
  ],
  [
    'node1',
    'POST',
    '/networks/create',
    { Name: 'bad name!', Driver: 'overlay' },
    400,
    'rpc error: code = InvalidArgument desc = name must be valid as a DNS name component',
  ],
];

/** Where dockerd is silent and the network never works, Skein says why. */
const beyondDocker: typeof asDocker = [
  [
    'node1',
    'POST',
    '/networks/create',
    { Name: 'n1', Driver: 'overlay', IPAM: { Config: [{ Subnet: '10.0.1.0/25' }] } },
    400,
    /10\.0\.1\.0\/25 of network n1.*10\.0\.1\.0\/24 of network uber-net/,
  ],
  [
    'node1',
    'POST',
    '/networks/create',
    { Name: 'n1', Driver: 'overlay', IPAM: { Config: [{ Subnet: '172.31.0.0/16' }] } },
    400,
    /172\.31\.0\.0\/16.*172\.31\.1\.0\/24.*eth0/,
  ],
  [
    'node1',
    'POST',
    '/networks/create',
    { Name: 'n5', Driver: 'overlay', Options: { 'com.docker.network.driver.overlay.vxlanid_list': '4097' } },
    400,
    /4097.*uber-net/,
  ],
  [
    'node1',
    'POST',
    '/services/create',
    { Name: 'a', ...ubuntu, EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 99999 }] } },
    400,
    /99999.*65535/,
  ],
];

/** Services that cannot have their task, and what `service ps` then says. */
const hopeless: Readonly<Record<string, readonly [words: readonly string[], error: RegExp]>> = {
  constrained: [
    ['--constraint=node.labels.planet==mars'],
    /^no suitable node \(scheduling constraints not satisfied on \d nodes?\)$/,
  ],
  large: [['--reserve-memory=900g'], /^no suitable node \(insufficient resources on \d nodes?\)$/],
  device: [['--generic-resource=gpu=1'], /^no suitable node \(insufficient resources on \d nodes?\)$/],
  plugin: [
    ['--mount=type=volume,src=v,dst=/v,volume-driver=nosuch'],
    /^no suitable node \(missing plugin on \d nodes?\)$/,
  ],
  logged: [['--log-driver=splunk'], /^no suitable node \(missing plugin on \d nodes?\)$/],
  crowded: [
    ['--replicas=4', '--publish=mode=host,published=7071,target=80'],
    /^no suitable node \(host-mode port already in use on \d nodes?\)$/,
  ],
  sourceless: [['--mount=type=bind,src=/no/such/place,dst=/x'], /source path not found: \/no\/such\/place$/],
  nobody: [
    ['--user=nobodyhere'],
    /^starting container failed: unable to find user nobodyhere: no matching entries in passwd file$/,
  ],
  mistyped: [
    ['--entrypoint=nosuchcommand'],
    /^starting container failed: .*exec: "nosuchcommand": executable file not found in \$PATH/,
  ],
  tuned: [
    ['--sysctl=kernel.shmmax2=1'],
    /^starting container failed: .*sysctl "kernel\.shmmax2" is not in a separate kernel namespace/,
  ],
  capable: [['--cap-add=NOPE'], /^invalid capability: "CAP_NOPE"$/],
  templated: [['--env=A={{.Nope}}'], /^expanding template "A=\{\{\.Nope\}\}" failed: unknown field \.Nope/],
};

test('bad input gets the words and status codes of Docker, and makes nothing', async (context) => {
  await using cluster = await Cluster.start('faults', 3);
  const socket = Object.fromEntries(
    cluster.lab.hosts().map((host) => [host.name, host.dockerHost.replace('unix://', '')]),
  );
  const init = cluster.must('node1', 'docker swarm init --advertise-addr 172.31.1.5');
  const token = /SWMTKN\S+/.exec(init)?.[0] ?? '';

  await context.test(
    'a wrong token, a wrong digest, a rotated token and an unreachable manager do not join, and leave nothing',
    () => {
      const join = (words: string[]): string => {
        const { stdout, stderr, exitCode } = cluster.run('node3', ['docker', 'swarm', 'join', ...words]);
        assert.equal(exitCode, 1, stdout);
        assert.equal(cluster.must('node3', 'docker info --format {{.Swarm.LocalNodeState}}').trim(), 'inactive');
        return stderr;
      };
      assert.match(join(['--token', 'bad', '172.31.1.5:2377']), /invalid join token/);
      assert.match(
        join(['--token', token.replace(/-[^-]*$/, `-${'0'.repeat(25)}`), '172.31.1.5:2377']),
        /A valid join token is necessary to join this cluster/,
      );
      assert.match(
        join(['--token', token.replace(/-1-[^-]*-/, `-1-${'1'.repeat(50)}-`), '172.31.1.5:2377']),
        /remote CA does not match fingerprint\. Expected: [0-9a-f]{64}/,
      );
      const rotated = cluster.must('node1', 'docker swarm join-token -q --rotate worker').trim();
      assert.notEqual(rotated, token);
      assert.match(join(['--token', token, '172.31.1.5:2377']), /A valid join token is necessary to join this cluster/);
      assert.match(join(['--token', rotated, '172.31.1.99:2377']), /172\.31\.1\.99:2377/);
      assert.equal(cluster.must('node1', 'docker node ls -q').trim().split('\n').length, 1);
      cluster.must('node2', ['docker', 'swarm', 'join', '--token', rotated, '172.31.1.5:2377']);
    },
  );

  cluster.must('node1', 'docker network create -d overlay uber-net');
  cluster.must(
    'node1',
    'docker service create --quiet --name test --network uber-net --replicas 2 ubuntu sleep infinity',
  );

  for (const [host, method, path, body, status, message] of [...asDocker, ...beyondDocker]) {
    await context.test(
      `${host} ${method} ${path} ${typeof body === 'string' ? body : JSON.stringify(body ?? {})}`,
      async () => {
        const answer = await callApi(socket[host] ?? '', method, path, body);
        const text = (answer.body as { message?: string }).message ?? JSON.stringify(answer.body);
        if (typeof message === 'string') assert.equal(text, message);
        else assert.match(text, message);
        assert.equal(answer.status, status, text);
      },
    );
  }

  await context.test('none of it made a network or a service', () => {
    assert.equal(cluster.must('node1', 'docker service ls --format {{.Name}}'), 'test\n');
    assert.equal(
      cluster.must('node1', 'docker network ls --filter driver=overlay --format {{.Name}}'),
      'ingress\nuber-net\n',
    );
  });

  await context.test('a manager leaves only with force', () => {
    const { stderr, exitCode } = cluster.run('node1', 'docker swarm leave');
    assert.equal(exitCode, 1);
    assert.match(
      stderr,
      /You are attempting to leave the swarm on a node that is participating as a manager\. Removing the last manager erases all current state of the swarm\. Use `--force` to ignore this message\./,
    );
  });

  await context.test('a missing image shows in service ps', async () => {
    cluster.must(
      'node1',
      'docker service create --detach --no-resolve-image --name missing --restart-condition none nosuch:latest',
    );
    const error = await eventually(
      'the error shows',
      () => cluster.must('node1', 'docker service ps --no-trunc --format {{.Error}} missing').trim() || undefined,
      60_000,
    );
    assert.match(error, /No such image: nosuch:latest/);
    cluster.must('node1', 'docker service rm missing');
  });

  await context.test('what cannot be placed, prepared or started says why in service ps', async () => {
    for (const [name, [words]] of Object.entries(hopeless)) {
      const create = ['docker', 'service', 'create', '--detach', '--quiet', '--no-resolve-image', `--name=${name}`];
      cluster.must('node1', [...create, '--restart-condition=none', ...words, 'ubuntu', 'sleep', '1000']);
    }
    for (const [name, [, error]] of Object.entries(hopeless)) {
      await eventually(
        `the error of ${name} shows`,
        () => {
          const told = cluster.must('node1', [
            'docker',
            'service',
            'ps',
            '--no-trunc',
            '--format={{json .Error}}',
            name,
          ]);
          const errors = told
            .trim()
            .split('\n')
            .map((line) => (JSON.parse(line) as string).replace(/^"|"$/g, ''));
          return errors.some((each) => error.test(each)) || assert.fail(told);
        },
        60_000,
      );
    }
    cluster.must('node1', ['docker', 'service', 'rm', ...Object.keys(hopeless)]);
  });

  await context.test(
    'exhausted addresses show in service ps with the numbers, and are given once there are free ones',
    async () => {
      cluster.must('node1', 'docker network create -d overlay --subnet 10.9.0.0/29 small');
      cluster.must(
        'node1',
        'docker service create --detach --name crowd --network small --replicas 9 ubuntu sleep infinity',
      );
      const errors = await eventually(
        'the error shows',
        () => cluster.must('node1', 'docker service ps --no-trunc --format {{.Error}} crowd').trim() || undefined,
        60_000,
      );
      assert.match(errors, /small.*10\.9\.0\.0\/29/);
      assert.match(errors, /\d+ (usable|addresses)/);
      cluster.must('node1', 'docker service scale --detach crowd=1');
      await eventually(
        'one task runs',
        () =>
          cluster.must('node1', 'docker service ls --filter name=crowd --format {{.Replicas}}').trim() === '1/1'
            ? true
            : undefined,
        60_000,
      );
      cluster.must('node1', 'docker service rm crowd');
    },
  );

  await context.test('drain moves the tasks away, node rm takes a node that left', async () => {
    cluster.must('node1', 'docker node update --availability drain node2');
    await eventually(
      'both tasks run on node1',
      () => {
        const nodes = cluster
          .must('node1', [
            'docker',
            'service',
            'ps',
            '--filter',
            'desired-state=running',
            '--format',
            '{{.Node}} {{.CurrentState}}',
            'test',
          ])
          .trim()
          .split('\n');
        return nodes.length === 2 && nodes.every((line) => line.startsWith('node1 Running')) ? true : undefined;
      },
      60_000,
    );
    const early = cluster.run('node1', 'docker node rm node2');
    assert.match(early.stderr, /is not down and can't be removed/);
    cluster.must('node2', 'docker swarm leave');
    await eventually(
      'node2 is down',
      () =>
        cluster.must('node1', ['docker', 'node', 'ls', '--format', '{{.Hostname}} {{.Status}}']).includes('node2 Down')
          ? true
          : undefined,
      60_000,
    );
    cluster.must('node1', 'docker node rm node2');
    assert.equal(cluster.must('node1', 'docker node ls -q').trim().split('\n').length, 1);
  });
});
