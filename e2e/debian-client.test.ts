/** What users type, by the docker client of Debian (20.10 in Debian 12): older than the one that the other tests use. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Cluster, eventually } from './support/cluster.ts';

const client = '/usr/bin/docker';
const composeFile = `version: "3.8"
services:
  web:
    image: ubuntu
    command: sleep infinity
    stop_grace_period: 1s
    networks: { inner: { aliases: [front] } }
    deploy: { replicas: 2 }
    secrets: [word]
networks:
  inner: { driver: overlay }
secrets:
  word: { external: true }
`;

describe("Debian's docker client drives skeind", () => {
  let cluster: Cluster;
  let directory: string;
  const docker = (host: string, words: string, input?: string): string =>
    cluster.must(host, [client, ...words.split(' ')], input === undefined ? {} : { input });
  const running = (service: string, wanted: string): Promise<true> =>
    eventually(`${service} has ${wanted}`, () =>
      docker('node1', `service ls --filter name=${service} --format {{.Replicas}}`).trim() === wanted
        ? true
        : undefined,
    );
  const containerOf = (host: string, service: string): string =>
    docker(host, `ps -q --filter label=com.docker.swarm.service.name=${service}`).trim().split('\n')[0] ?? '';

  before(async () => {
    assert.ok(existsSync(client), `${client} is missing: the set-up script installs docker.io`);
    directory = mkdtempSync(join(tmpdir(), 'skein-e2e-'));
    cluster = await Cluster.start('debian', 2);
    const token = /SWMTKN\S+/.exec(docker('node1', 'swarm init --advertise-addr 172.31.1.5'))?.[0] ?? '';
    assert.match(
      docker('node2', `swarm join --token ${token} 172.31.1.5:2377`),
      /This node joined a swarm as a worker/,
    );
  });

  after(async () => {
    await cluster[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  test('the story: network, service, ps, inspect, exec, ping', async () => {
    const [clientVersion = '', serverVersion = ''] = docker(
      'node1',
      'version --format {{.Client.Version}}/{{.Server.Version}}',
    ).split('/');
    assert.match(clientVersion, /^\d+\./);
    assert.match(serverVersion, /^0\./);
    docker('node1', 'network create -d overlay uber-net');
    assert.doesNotMatch(docker('node2', 'network ls'), /uber-net/);
    const created = docker(
      'node1',
      'service create --name test --stop-grace-period 1s --network uber-net --replicas 2 ubuntu sleep infinity',
    );
    assert.match(created, /converged|verify/i);
    assert.match(docker('node1', 'service ps test'), /Running/);
    assert.match(docker('node2', 'network inspect uber-net'), /"Driver": "overlay"/);
    const container = containerOf('node1', 'test');
    const address = '{{(index .NetworkSettings.Networks "uber-net").IPAddress}}';
    const inspect = [client, 'container', 'inspect', '--format', address, container];
    assert.match(cluster.must('node1', inspect), /^10\.0\.\d+\.\d+$/m);
    assert.match(docker('node1', `exec ${container} ping -c 2 tasks.test`), / 0% packet loss/);
  });

  test('update, rollback, scale, logs, removal', async () => {
    docker('node1', 'service update --detach=false --env-add COLOR=blue test');
    assert.match(docker('node1', 'service inspect test'), /COLOR=blue/);
    docker('node1', 'service rollback --detach=false test');
    assert.doesNotMatch(
      docker('node1', 'service inspect --format {{.Spec.TaskTemplate.ContainerSpec.Env}} test'),
      /COLOR=blue/,
    );
    docker('node1', 'service scale --detach=false test=3');
    await running('test', '3/3');
    docker('node1', 'service rm test');
    await cluster.untilGone('test');
  });

  test('a stack with a secret, its names, and its removal', async () => {
    docker('node1', 'secret create word -', 'hush');
    const file = join(directory, 'stack.yml');
    writeFileSync(file, composeFile);
    docker('node1', `stack deploy -c ${file} app`);
    await running('app_web', '2/2');
    assert.match(docker('node1', 'stack services app'), /app_web/);
    const container = containerOf('node2', 'app_web');
    assert.equal(docker('node2', `exec ${container} cat /run/secrets/word`), 'hush');
    assert.match(docker('node2', `exec ${container} nslookup front`), /Address/);
    docker('node1', 'stack rm app');
    await cluster.untilGone('app_web');
  });

  test('run, logs, cp, stop, rm', () => {
    docker('node1', 'network create -d overlay --attachable open');
    assert.equal(docker('node1', 'run --rm --network open ubuntu hostname').trim().length, 12);
    docker('node1', 'run -d --name keeper -p 8088:80 ubuntu sleep infinity');
    assert.match(docker('node1', 'port keeper'), /80\/tcp -> 0\.0\.0\.0:8088/);
    const copy = join(directory, 'hostname');
    docker('node1', `cp keeper:/etc/hostname ${copy}`);
    assert.equal(readFileSync(copy, 'utf8').trim(), docker('node1', 'exec keeper hostname').trim());
    assert.equal(docker('node1', 'logs keeper'), '');
    docker('node1', 'stop -t 1 keeper');
    docker('node1', 'rm keeper');
    docker('node1', 'network rm open');
  });
});
