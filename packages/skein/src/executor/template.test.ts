import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { ConfigSchema, SecretSchema, TaskSchema } from '../swarm/gen/objects_pb.js';
import { ContainerSpecSchema } from '../swarm/gen/specs_pb.js';
import {
  Mount_Type,
  NodeDescriptionSchema,
  PortConfig_Protocol,
  PortConfig_PublishMode,
  PortConfigSchema,
} from '../swarm/gen/types_pb.js';
import { checkBindSources, containerConfig, hostConfig, taskFiles } from './container-spec.ts';
import { expandPayload, expandTemplate, type TemplateContext } from './template.ts';

const context: TemplateContext = {
  task: create(TaskSchema, {
    id: 'task1',
    slot: 3n,
    serviceId: 'service1',
    serviceAnnotations: { name: 'web', labels: { tier: 'front' } },
  }),
  node: {
    id: 'node1',
    description: create(NodeDescriptionSchema, {
      hostname: 'host1',
      platform: { os: 'linux', architecture: 'x86_64' },
    }),
  },
};

test('the fields of service, node and task are expanded, others are refused', () => {
  const text = '{{.Service.Name}}/{{ .Task.Slot }}/{{.Node.Hostname}}/{{.Service.Labels.tier}}/{{.Task.Name}}';
  assert.equal(expandTemplate(text, context), 'web/3/host1/front/web.3.task1');
  assert.throws(() => expandTemplate('{{.Task.Secret}}', context), /unknown field \.Task\.Secret/);
  assert.throws(() => expandTemplate('{{if true}}x{{end}}', context), /only fields such as/);
});

test('a payload may hold secrets, configs and environment, which are not expanded again', () => {
  const getters = {
    secret: (target: string) => (target === 'key' ? '{{.Task.ID}}' : undefined),
    config: () => undefined,
    env: (name: string) => (name === 'MODE' ? 'fast' : undefined),
  };
  const text = 'k={{secret "key"}} m={{ env "MODE" }} n={{env "NONE"}} s={{.Service.Name}}';
  assert.equal(expandPayload(text, context, getters), 'k={{.Task.ID}} m=fast n= s=web');
  assert.throws(() => expandPayload('{{config "x"}}', context, getters), /config target x not found/);
});

test('only secrets and configs of template driver golang are expanded', () => {
  const config = (name: string, templated: boolean) =>
    create(ConfigSchema, {
      id: name,
      spec: {
        data: Buffer.from('{{secret "pw"}}@{{.Service.Name}}'),
        ...(templated && { templating: { name: 'golang' } }),
      },
    });
  const configs = new Map([config('plain', false), config('made', true)].map((each) => [each.id, each]));
  const spec = create(ContainerSpecSchema, {
    secrets: [{ secretId: 's', secretName: 'pw', file: { name: 'pw', mode: 0o400 } }],
    configs: ['plain', 'made'].map((name) => ({
      configId: name,
      configName: name,
      target: { case: 'file' as const, value: { name: `/etc/${name}`, mode: 0o444 } },
    })),
  });
  const secret = create(SecretSchema, { id: 's', spec: { data: Buffer.from('hunter2') } });
  const dependencies = { secret: () => secret, config: (id: string) => configs.get(id) };
  const files = taskFiles(spec, dependencies, context);
  assert.deepEqual(
    files.map(({ path, contents }) => [path, Buffer.from(contents).toString()]),
    [
      ['/run/secrets/pw', 'hunter2'],
      ['/etc/plain', '{{secret "pw"}}@{{.Service.Name}}'],
      ['/etc/made', 'hunter2@web'],
    ],
  );
});

test('a bind mount without its source and a volume that is no directory are refused in words', () => {
  const bind = create(ContainerSpecSchema, {
    mounts: [{ type: Mount_Type.BIND, source: '/no/{{.Task.Slot}}', target: '/x' }],
  });
  assert.throws(() => checkBindSources(bind, context), {
    message: 'invalid bind mount source, source path not found: /no/3',
  });
  const volume = create(ContainerSpecSchema, {
    mounts: [
      {
        type: Mount_Type.VOLUME,
        source: 'v',
        target: '/x',
        volumeOptions: { driverConfig: { options: { type: 'nfs' } } },
      },
    ],
  });
  assert.throws(() => hostConfig(volume, context), /driver options \(type\) are not supported/);
});

test('a tmpfs of which only the size was given is for everyone, as Docker makes it', () => {
  const spec = create(ContainerSpecSchema, {
    mounts: [{ type: Mount_Type.TMPFS, target: '/x', tmpfsOptions: { sizeBytes: 1024n } }],
  });
  assert.deepEqual(hostConfig(spec, context).Mounts[0]?.TmpfsOptions, { SizeBytes: 1024, Mode: 0o1777 });
});

test('ports of mode host are in Config and HostConfig, as dockerd puts them there', () => {
  const ports = [
    { targetPort: 80, publishedPort: 9090, publishMode: PortConfig_PublishMode.HOST },
    { targetPort: 53, protocol: PortConfig_Protocol.UDP, publishMode: PortConfig_PublishMode.HOST },
    { targetPort: 81, publishedPort: 8081, publishMode: PortConfig_PublishMode.INGRESS },
  ];
  const task = create(TaskSchema, {
    endpoint: { ports: ports.map((port) => create(PortConfigSchema, port)) },
  });
  const spec = create(ContainerSpecSchema);
  assert.deepEqual(containerConfig(spec, 'c'.repeat(64), { ...context, task }).ExposedPorts, {
    '80/tcp': {},
    '53/udp': {},
  });
  assert.deepEqual(hostConfig(spec, { ...context, task }).PortBindings, {
    '80/tcp': [{ HostIp: '', HostPort: '9090' }],
    '53/udp': [{ HostIp: '', HostPort: '' }],
  });
  assert.equal(hostConfig(spec, context).PortBindings, undefined);
});
