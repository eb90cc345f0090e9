/** The unmodified clients: the docker CLI, where it is installed, and dockerode. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import Dockerode from 'dockerode';
import { FakeEngine, hasDockerCli, type Print } from './testing/fake-engine.ts';

const containerId = '17f596ab61cac506a6fc75a0b58fcf08395c40f557fb92f1e921f7a3214a2cfe';

/** A manager with uber-net, a service of two tasks on it, and a container of this node. */
async function startStory(): Promise<FakeEngine> {
  const engine = await FakeEngine.start();
  await engine.request('POST', '/swarm/init', {});
  await engine.request('POST', '/networks/create', {
    Name: 'uber-net',
    Driver: 'overlay',
    IPAM: { Driver: 'default' },
  });
  await engine.request('POST', '/services/create', {
    Name: 'test',
    TaskTemplate: {
      ContainerSpec: { Image: 'ubuntu:latest', Args: ['sleep', 'infinity'] },
      Networks: [{ Target: 'uber-net' }],
    },
    Mode: { Replicated: { Replicas: 2 } },
    EndpointSpec: { Mode: 'vip' },
  });
  engine.addContainer(containerId, 'test.2.fv165', {
    id: engine.swarm.control().findNetwork('uber-net').id,
    name: 'uber-net',
    subnets: [{ subnet: '10.0.1.0/24', gateway: '10.0.1.1', vni: 4097 }],
    internal: false,
    ingress: false,
    encrypted: false,
    labels: {},
    options: {},
    attachable: false,
  });
  return engine;
}

describe('the docker CLI', { skip: !hasDockerCli && 'no docker CLI here' }, () => {
  let engine: FakeEngine;
  before(async () => {
    engine = await startStory();
  });
  after(() => engine[Symbol.asyncDispose]());

  const works = async (...words: string[]): Promise<Print> => {
    const print = await engine.docker(...words);
    assert.equal(print.exitCode, 0, `docker ${words.join(' ')}: ${print.stdout}${print.stderr}`);
    return print;
  };

  it('prints version and info without a warning', async () => {
    const { stdout } = await works('version');
    assert.match(
      stdout,
      /Server: Skein 0\.1\.0\n Engine:\n {2}Version: +0\.1\.0\n {2}API version: +1\.51 \(minimum version 1\.24\)/,
    );
    const info = await works('info');
    assert.equal(info.stderr, '');
    assert.match(
      info.stdout,
      / Swarm: active\n {2}NodeID: \w{25}\n {2}Is Manager: true\n {2}ClusterID: \w{25}\n {2}Managers: 1\n {2}Nodes: 1\n {2}Data Path Port: 4789/,
    );
  });

  it('lists and inspects the cluster', async () => {
    assert.match((await works('node', 'ls')).stdout, /\* +node1 +Ready +Active +Leader +0\.1\.0\n/);
    assert.match((await works('network', 'ls')).stdout, /uber-net +overlay +swarm/);
    assert.match((await works('service', 'ls')).stdout, /test +replicated +2\/2 +ubuntu:latest/);
    assert.match((await works('service', 'ps', 'test')).stdout, /test\.1 +ubuntu:latest +node1 +Running +Running/);
    assert.match((await works('node', 'ps', 'self')).stdout, /test\.2 +ubuntu:latest/);
    assert.match((await works('service', 'inspect', '--pretty', 'test')).stdout, /Networks: uber-net/);
    assert.match((await works('node', 'inspect', '--pretty', 'self')).stdout, /Leader:\t\tYes/);
    assert.match((await works('swarm', 'join-token', 'worker')).stdout, /--token SWMTKN-1-worker 172\.31\.1\.5:2377/);
    assert.match(
      (await works('inspect', 'uber-net')).stdout,
      /"com\.docker\.network\.driver\.overlay\.vxlanid_list": "4097"/,
    );
  });

  it('makes up a name for a service that was given none', async () => {
    const id = (await works('service', 'create', '--detach', '--no-resolve-image', 'ubuntu')).stdout.trim();
    const name = (await works('service', 'inspect', '--format', '{{.Spec.Name}}', id)).stdout.trim();
    assert.match(name, /^[a-z]+_[a-z]+\d*$/);
    await works('service', 'rm', name);
  });

  it('says that services are not on the bridge of their hosts', async () => {
    const { exitCode, stderr } = await engine.docker('service', 'create', '--detach', '--network', 'bridge', 'ubuntu');
    assert.equal(exitCode, 1);
    assert.match(
      stderr,
      /Skein runs no tasks on the network "bridge" of their hosts: use an overlay network, or "host"\./,
    );
  });

  it('shows the ports of mode host, and those that are only exposed', async () => {
    const container = engine.runtime.containers.get(containerId);
    if (container === undefined) assert.fail('no container');
    container.Config.ExposedPorts = { '80/tcp': {}, '53/udp': {} };
    const port = { protocol: 'tcp', containerPort: 80, hostAddress: '0.0.0.0', hostPort: 9090 } as const;
    engine.taskPorts.set(containerId, [port]);
    assert.equal((await works('ps', '--format', '{{.Ports}}')).stdout, '53/udp, 0.0.0.0:9090->80/tcp\n');
    assert.equal((await works('port', '17f5')).stdout, '80/tcp -> 0.0.0.0:9090\n');
    assert.equal(
      (await works('inspect', '--format', '{{json .NetworkSettings.Ports}}', '17f5')).stdout,
      '{"53/udp":null,"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"9090"}]}\n',
    );
    for (const [filters, isShown] of [
      [['publish=9090'], true],
      [['publish=9000-9100/tcp'], true],
      [['publish=9090/udp'], false],
      [['publish=80'], false],
      [['expose=80'], true],
      [['expose=50-60/udp'], true],
      [['expose=53'], false],
      [['publish=1', 'expose=53/udp'], true],
    ] as const) {
      const { stdout } = await works('ps', '-q', ...filters.flatMap((filter) => ['--filter', filter]));
      assert.equal(stdout, isShown ? '17f596ab61ca\n' : '', filters.join());
    }
    for (const [filter, message] of [
      ['publish=1:2', "filter for 'publish' should not contain ':': 1:2"],
      ...['http', '90-80', '65536', '/tcp'].map((port) => [
        `expose=${port}`,
        `error while looking up for expose ${port}: use a port or a range, as 80, 53/udp or 8000-8010/tcp`,
      ]),
    ] as const)
      assert.equal(
        (await engine.docker('ps', '--filter', `${filter}`)).stderr,
        `Error response from daemon: ${message}\n`,
      );
    delete container.Config.ExposedPorts;
    engine.taskPorts.clear();
  });

  it('finds plain containers by their networks', async () => {
    const { networking } = engine.local;
    const plain = {
      mode: 'web',
      endpoints: [
        {
          networkName: 'web',
          networkId: 'c'.repeat(64),
          requested: { aliases: [], ipv4Address: '', mac: '' },
          endpoint: undefined,
        },
      ],
      ports: [],
    };
    engine.local.networking = () => plain;
    for (const [network, shown] of [
      ['web', '17f596ab61ca\n'],
      ['ccccccc', '17f596ab61ca\n'],
      ['uber-net', ''],
    ] as const)
      assert.equal((await works('ps', '-q', '--filter', `network=${network}`)).stdout, shown, network);
    engine.local.networking = networking;
  });

  it("shows a task's container in the host's network", async () => {
    const container = engine.runtime.containers.get(containerId);
    if (container === undefined) assert.fail('no container');
    const mode = container.HostConfig.NetworkMode;
    container.HostConfig.NetworkMode = 'host';
    assert.equal((await works('ps', '-q', '--filter', 'network=host')).stdout, '17f596ab61ca\n');
    container.HostConfig.NetworkMode = mode;
  });

  it('updates and scales a service, and turns a node to drain', async () => {
    await works('service', 'scale', '--detach', 'test=3');
    await works('service', 'update', '--detach', '--env-add', 'A=1', '--limit-memory', '64m', 'test');
    const [inspected] = JSON.parse((await works('service', 'inspect', 'test')).stdout) as [
      { Spec: { Mode: unknown; TaskTemplate: { ContainerSpec: { Env: string[] }; Resources: unknown } } },
    ];
    assert.deepEqual(inspected.Spec.Mode, { Replicated: { Replicas: 3 } });
    assert.deepEqual(inspected.Spec.TaskTemplate.ContainerSpec.Env, ['A=1']);
    assert.deepEqual(inspected.Spec.TaskTemplate.Resources, { Limits: { MemoryBytes: 67_108_864 }, Reservations: {} });
    await works('node', 'update', '--availability', 'drain', '--label-add', 'x=1', 'node1');
    assert.match((await works('node', 'ls')).stdout, /Drain/);
    await works('swarm', 'update', '--task-history-limit', '7');
    assert.match((await works('info')).stdout, /Task History Retention Limit: 7/);
  });

  it('keeps secrets and configs', async () => {
    const secret = await engine.dockerWithInput('hidden', 'secret', 'create', 'password', '-');
    assert.equal(secret.exitCode, 0, secret.stderr);
    const config = await engine.dockerWithInput('shown', 'config', 'create', 'motd', '-');
    assert.equal(config.exitCode, 0, config.stderr);
    assert.match((await works('secret', 'ls')).stdout, /password/);
    assert.doesNotMatch((await works('secret', 'inspect', 'password')).stdout, /aGlkZGVu/);
    assert.match((await works('config', 'inspect', 'motd')).stdout, /c2hvd24=/);
    await works('secret', 'rm', 'password');
    await works('config', 'rm', 'motd');
  });

  it('lists, inspects and enters containers', async () => {
    assert.match(
      (await works('ps')).stdout,
      /17f596ab61ca +ubuntu:latest +"sleep infinity" +\d+ seconds ago +Up \d+ seconds +test\.2\.fv165\n/,
    );
    assert.match(
      (await works('ps', '--size', '--filter', 'network=uber-net', '--filter', 'is-task=true')).stdout,
      /10B/,
    );
    const format = '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}';
    assert.equal((await works('inspect', '--format', format, '17f5')).stdout, '10.0.1.4\n');
    assert.equal((await works('exec', '17f5', 'echo', 'hello', 'world')).stdout, 'hello world\n');
    assert.equal((await engine.docker('exec', '17f5', 'false')).exitCode, 1);
    const missing = await engine.docker('exec', '17f5', 'nosuch');
    assert.match(missing.stderr + missing.stdout, /executable file not found in \$PATH/);
    assert.equal((await engine.dockerWithInput('typed\n', 'exec', '-i', '17f5', 'cat')).stdout, 'typed\n');
    await works('exec', '--detach', '17f5', 'echo');
    assert.match((await works('top', '17f5')).stdout, /sleep infinity/);
    await works('pause', '17f5');
    assert.match((await works('ps')).stdout, /\(Paused\)/);
    await works('unpause', '17f5');
    await works('stop', '17f5');
    assert.match((await works('ps', '--all')).stdout, /Exited \(137\) (Less than a second|\d seconds?) ago/);
    assert.equal((await works('wait', '17f5')).stdout, '137\n');
    await works('start', '17f5');
    const running = await engine.docker('rm', '17f5');
    assert.match(running.stderr, /You cannot remove a running container/);
  });

  it('deploys and removes a stack', async () => {
    const file = join(engine.directory, 'stack.yml');
    writeFileSync(
      file,
      `services:
  web:
    image: ubuntu
    networks: [front]
    deploy: { replicas: 2, resources: { limits: { memory: 64M, pids: 20 } }, update_config: { order: start-first } }
    volumes: [{ type: tmpfs, target: /x, tmpfs: { size: 1000 } }]
    cap_add: [NET_ADMIN]
networks:
  front: { attachable: true }
`,
    );
    await works('stack', 'deploy', '--detach=true', '-c', file, 'shop');
    assert.match((await works('stack', 'services', 'shop')).stdout, /shop_web +replicated +2\/2/);
    assert.match((await works('stack', 'ps', 'shop')).stdout, /shop_web\.1 +ubuntu:latest +node1 +Running/);
    assert.match((await works('network', 'inspect', '--format', '{{.Attachable}}', 'shop_front')).stdout, /true/);
    await works('stack', 'rm', 'shop');
  });

  it('attaches, kills and renames', async () => {
    assert.equal((await works('attach', '--no-stdin', '17f5')).stdout, 'attached\n');
    const restart = await engine.docker('restart', '17f5');
    assert.match(restart.stderr, /container 17f5\S+ belongs to a task: use docker service update --force/);
    await works('rename', '17f5', 'other');
    assert.match((await works('ps')).stdout, / other\n/);
    await works('kill', 'other');
    await works('start', 'other');
  });

  it('rotates tokens and shows the root certificate', async () => {
    assert.match((await works('swarm', 'join-token', '--rotate', 'worker')).stdout, /SWMTKN-1-worker-rotated/);
    assert.match((await works('swarm', 'ca')).stdout, /BEGIN CERTIFICATE/);
    const unlock = await engine.docker('swarm', 'unlock-key');
    assert.match(unlock.stdout + unlock.stderr, /no unlock key is set/);
  });

  it('shows logs and events', async () => {
    engine.runtime.logEntries = [
      { stream: 'stdout', timestamp: '2026-11-25T01:02:03.5Z', line: Buffer.from('ready\n') },
    ];
    assert.equal((await works('logs', '--timestamps', '17f5')).stdout, '2026-11-25T01:02:03.500000000Z ready\n');
    const [task] = engine.swarm.store.tasks();
    engine.swarm.logLines = [
      {
        nodeId: task?.nodeId ?? '',
        serviceId: task?.serviceId ?? '',
        taskId: task?.id ?? '',
        stream: 'stdout',
        timestamp: '',
        data: Buffer.from('hello\n'),
        attributes: {},
      },
    ];
    assert.match((await works('service', 'logs', 'test')).stdout, /^test\.1\.\w{12}@node1 +\| hello\n$/);
    engine.events.publish({
      type: 'network',
      action: 'connect',
      scope: 'local',
      actor: { id: 'n1', attributes: { name: 'uber-net' } },
    });
    const events = await works(
      'events',
      '--since',
      '1h',
      '--until=-1s',
      '--filter',
      'type=network',
      '--format',
      '{{json .}}',
    );
    assert.match(events.stdout, /"Action":"connect"/);
    assert.match(
      (await works('service', 'inspect', '--pretty', 'test')).stdout,
      /UpdateConfig:\n Parallelism:\t1\n On failure:\tpause\n/,
    );
  });

  it('waits until a service has converged', async () => {
    const { stdout } = await works('service', 'create', '--name', 'web', '--replicas', '1', 'ubuntu');
    assert.match(stdout, /overall progress: 1 out of 1 tasks/);
    assert.match(stdout, /verify: Service \w{25} converged/);
    await works('service', 'rm', 'web');
  });

  it('lists, pulls and inspects images', async () => {
    assert.match((await works('images')).stdout, /ubuntu +latest +41550ee29b5c/);
    await works('image', 'inspect', 'ubuntu');
    await works('history', 'ubuntu');
    await works('tag', 'ubuntu', 'other');
    await works('image', 'ls', '--filter', 'dangling=false');
    await works('system', 'df');
    assert.match((await engine.docker('pull', 'nosuch')).stderr, /Error response from daemon: manifest for/);
  });

  it("prints dockerd's words for what cannot be", async () => {
    const says = async (text: string, ...words: string[]): Promise<void> => {
      const { stderr, exitCode } = await engine.docker(...words);
      assert.ok(stderr.includes(text) && exitCode !== 0, `docker ${words.join(' ')}: ${stderr} [${exitCode}]`);
    };
    await says(
      'Error response from daemon: network with name uber-net already exists',
      'network',
      'create',
      '-d',
      'overlay',
      'uber-net',
    );
    await says('is in use by service', 'network', 'rm', 'uber-net');
    await says(
      'name conflicts with an existing object: service test already exists',
      'service',
      'create',
      '--detach',
      '--name',
      'test',
      'ubuntu',
    );
    await says('This node is already part of a swarm.', 'swarm', 'join', '--token', 'x', '172.31.1.5:2377');
    await says('You are attempting to leave the swarm on a node that is participating as a manager.', 'swarm', 'leave');
    await says('Skein has no device drivers for --gpus', 'run', '--gpus=all', 'ubuntu');
    await says('host is a pre-defined network and cannot be removed', 'network', 'rm', 'host');
    await says('No such container: nope', 'exec', 'nope', 'true');
  });

  it("reads every list and inspection with --format '{{json .}}'", async () => {
    for (const words of [
      ['info'],
      ['version'],
      ['node', 'ls'],
      ['node', 'inspect', 'self'],
      ['node', 'ps', 'self'],
      ['network', 'ls'],
      ['network', 'inspect', 'uber-net'],
      ['service', 'ls'],
      ['service', 'ps', 'test'],
      ['service', 'inspect', 'test'],
      ['ps', '--all'],
      ['container', 'inspect', '17f5'],
      ['images'],
      ['image', 'inspect', 'ubuntu'],
      ['volume', 'ls'],
      ['plugin', 'ls'],
    ]) {
      const { stdout } = await works(...words, '--format', '{{json .}}');
      for (const line of stdout
        .trim()
        .split('\n')
        .filter((each) => each !== ''))
        JSON.parse(line);
    }
  });

  it('makes and leaves a swarm of its own', async () => {
    await using fresh = await FakeEngine.start();
    const init = await fresh.docker('swarm', 'init', '--advertise-addr', '172.31.1.5', '--task-history-limit', '3');
    assert.match(init.stdout, /Swarm initialized: current node \(\w{25}\) is now a manager\./);
    assert.match(init.stdout, /docker swarm join --token SWMTKN-1-worker 172\.31\.1\.5:2377/);
    const created = await fresh.docker(
      'network',
      'create',
      '-d',
      'overlay',
      '--subnet',
      '10.9.0.0/24',
      '--label',
      'a=b',
      'net',
    );
    assert.equal(created.exitCode, 0, created.stderr);
    assert.equal((await fresh.docker('network', 'rm', 'net')).stdout, 'net\n');
    assert.equal((await fresh.docker('swarm', 'leave', '--force')).stdout, 'Node left the swarm.\n');
    const worker = await fresh.docker('swarm', 'join', '--token', 'SWMTKN-1-worker', '172.31.1.5:2377');
    assert.equal(worker.stdout, 'This node joined a swarm as a worker.\n', worker.stderr);
    assert.match(
      (await fresh.docker('network', 'create', '-d', 'overlay', 'other')).stderr,
      /Cannot create a multi-host network from a worker node/,
    );
  });
});

describe('dockerode', () => {
  it('reads the lists and inspections, and runs an exec', async () => {
    await using engine = await startStory();
    const docker = new Dockerode({ socketPath: engine.socketPath });
    assert.equal((await docker.version()).ApiVersion, '1.51');
    assert.equal((await docker.info()).Swarm?.LocalNodeState, 'active');
    assert.equal((await docker.listNodes()).length, 1);
    assert.equal((await docker.listServices())[0]?.Spec?.Name, 'test');
    assert.equal((await docker.listTasks({ filters: { service: ['test'] } })).length, 2);
    const network = await docker.getNetwork('uber-net').inspect();
    assert.deepEqual(Object.keys(network.Containers ?? {}), [containerId]);
    const [container] = await docker.listContainers();
    assert.equal(container?.NetworkSettings.Networks['uber-net']?.IPAddress, '10.0.1.4');
    const inspected = await docker.getContainer('17f5').inspect();
    assert.equal(inspected.NetworkSettings.Networks['uber-net']?.MacAddress, '02:42:0a:00:01:04');
    assert.equal((await docker.listImages())[0]?.RepoTags?.[0], 'ubuntu:latest');

    const exec = await docker
      .getContainer('17f5')
      .exec({ Cmd: ['cat'], AttachStdin: true, AttachStdout: true, AttachStderr: true, Tty: false });
    const connection = await exec.start({ hijack: true, stdin: true, Tty: false });
    const received: Buffer[] = [];
    connection.on('data', (chunk: Buffer) => received.push(chunk));
    const ended = new Promise<void>((resolve) => connection.once('end', resolve));
    connection.write('typed');
    connection.end();
    await ended;
    // Behind the header of a frame: stdout, five bytes.
    assert.equal(Buffer.concat(received).toString('latin1'), '\x01\0\0\0\0\0\0\x05typed');
    assert.equal((await exec.inspect()).ExitCode, 0);
  });
});
