/** Every field that Docker always sends is there, for dockerode and for `--format '{{json .}}'`. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import Dockerode from 'dockerode';
import { playStory } from './story.ts';
import { Cluster } from './support/cluster.ts';
import { startOutsideServer } from './support/outside.ts';

/** The shape of what a dockerd 20.10 answers: objects by key, lists by their first element, `*` for any key of a map. */
type Shape = string | readonly Shape[] | { readonly [key: string]: Shape };
const shapes = JSON.parse(readFileSync(join(import.meta.dirname, 'support/docker-fields.json'), 'utf8')) as Record<
  string,
  Shape
>;

/** Sent by 20.10 and by no Docker of API 1.51 any more, or only under conditions that are not ours. */
const gone = new Set([
  'Container',
  'ContainerConfig',
  'VirtualSize',
  'KernelMemory',
  'KernelMemoryTCP',
  'KernelMemoryTCP',
  'DockerVersion',
  'Parent',
  'Comment',
  'Author',
  'BridgeNfIptables',
  'BridgeNfIp6tables',
  'ExperimentalBuild',
  'HairpinMode',
  'LinkLocalIPv6Address',
  'LinkLocalIPv6PrefixLen',
  'SecondaryIPAddresses',
  'SecondaryIPv6Addresses',
  'AllowNondistributableArtifactsCIDRs',
  'AllowNondistributableArtifactsHostnames',
  'ClusterStore',
  'ClusterAdvertise',
  'IPAMConfig',
  'PortStatus',
  'Expected',
  'InitCommit',
  'InitBinary',
  'BuildTime',
  'Labels.*',
]);

function missing(shape: Shape, value: unknown, path: string): string[] {
  if (typeof shape === 'string') return [];
  if (Array.isArray(shape)) {
    if (!Array.isArray(value)) return [`${path} is no list`];
    return value.length === 0 || shape[0] === undefined ? [] : missing(shape[0], value[0], `${path}[0]`);
  }
  if (value === null || typeof value !== 'object') return [`${path} is ${JSON.stringify(value)}`];
  const object = value as Record<string, unknown>;
  return Object.entries(shape as Record<string, Shape>).flatMap(([key, inner]) => {
    if (key === '*') return Object.entries(object).flatMap(([name, each]) => missing(inner, each, `${path}.${name}`));
    if (gone.has(key)) return [];
    return key in object ? missing(inner, object[key], `${path}.${key}`) : [`${path}.${key}`];
  });
}

function complete(name: string, value: unknown): void {
  const shape = shapes[name];
  assert.ok(shape, `no shape ${name}`);
  assert.deepEqual(missing(shape, value, name), []);
}

test('lists and inspects of the story miss no field that Docker always sends', async (context) => {
  await using cluster = await Cluster.start('fields', 2);
  await startOutsideServer(cluster);
  const story = await playStory(cluster, 'docker', () => undefined);
  const docker = new Dockerode({ socketPath: (cluster.lab.hosts()[0]?.dockerHost ?? '').replace('unix://', '') });

  await context.test('dockerode: system, swarm, nodes, networks, services, tasks', async () => {
    complete('version', await docker.version());
    complete('info', await docker.info());
    complete('swarm', await docker.swarmInspect());
    complete('nodes', await docker.listNodes());
    const networks = await docker.listNetworks();
    complete(
      'networks',
      networks.filter((network) => network.Name === 'uber-net'),
    );
    complete('networkInspect', await docker.getNetwork('uber-net').inspect());
    complete('services', await docker.listServices());
    complete('tasks', await docker.listTasks());
  });
  await context.test('dockerode: containers and images', async () => {
    complete('containers', await docker.listContainers());
    complete('containerInspect', await docker.getContainer(story.containers.node1).inspect());
    complete('images', await docker.listImages());
    complete('imageInspect', await docker.getImage('ubuntu').inspect());
  });

  const lists: readonly [words: string[], keys: string[]][] = [
    [
      ['node', 'ls'],
      ['ID', 'Hostname', 'Status', 'Availability', 'ManagerStatus', 'EngineVersion', 'Self', 'TLSStatus'],
    ],
    [
      ['network', 'ls'],
      ['ID', 'Name', 'Driver', 'Scope', 'CreatedAt', 'IPv6', 'Internal', 'Labels'],
    ],
    [
      ['service', 'ls'],
      ['ID', 'Name', 'Mode', 'Replicas', 'Image', 'Ports'],
    ],
    [
      ['service', 'ps', 'test'],
      ['ID', 'Name', 'Image', 'Node', 'DesiredState', 'CurrentState', 'Error', 'Ports'],
    ],
    [
      ['container', 'ls'],
      [
        'ID',
        'Names',
        'Image',
        'Command',
        'CreatedAt',
        'RunningFor',
        'Status',
        'State',
        'Ports',
        'Labels',
        'Mounts',
        'Networks',
        'LocalVolumes',
        'Size',
      ],
    ],
    [
      ['image', 'ls'],
      [
        'ID',
        'Repository',
        'Tag',
        'Digest',
        'CreatedSince',
        'CreatedAt',
        'Size',
        'Containers',
        'SharedSize',
        'UniqueSize',
      ],
    ],
  ];
  for (const client of ['docker', 'skein'] as const) {
    for (const [words, keys] of lists) {
      await context.test(`${client} ${words.join(' ')} --format '{{json .}}'`, () => {
        const [line = ''] = cluster.must('node1', [client, ...words, '--format', '{{json .}}']).split('\n');
        const row = JSON.parse(line) as Record<string, unknown>;
        assert.deepEqual(
          keys.filter((key) => !(key in row)),
          [],
          line,
        );
        assert.equal((row.Names ?? row.Name ?? row.Hostname ?? row.Repository) ? 'named' : '', 'named', line);
      });
    }
  }
});
