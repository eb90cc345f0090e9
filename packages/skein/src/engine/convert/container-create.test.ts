import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeBody } from '../schema.ts';
import { containerCreateBody, plainContainer } from './container-create.ts';

const convert = (body: Record<string, unknown>, apiVersion = 51) =>
  plainContainer('name', decodeBody(containerCreateBody, { Image: 'ubuntu', ...body }, 'ContainerCreate'), apiVersion);

test('binds, tmpfs and mounts become mounts; published ports are exposed', () => {
  const { hostConfig, config } = convert({
    HostConfig: {
      Binds: ['/src:/a:ro', 'named:/b', '/c:/c:rshared'],
      Tmpfs: { '/t': 'size=64m,mode=1770' },
      Mounts: [{ Type: 'volume', Source: 'v', Target: '/v', ReadOnly: true }],
      PortBindings: { '80/tcp': [{ HostIp: '', HostPort: '8080' }] },
    },
  });
  assert.deepEqual(hostConfig.Mounts, [
    {
      Type: 'bind',
      Source: '/src',
      Target: '/a',
      ReadOnly: true,
      BindOptions: { Propagation: 'rprivate', CreateMountpoint: true },
    },
    { Type: 'volume', Source: 'named', Target: '/b', ReadOnly: false },
    {
      Type: 'bind',
      Source: '/c',
      Target: '/c',
      ReadOnly: false,
      BindOptions: { Propagation: 'rshared', CreateMountpoint: true },
    },
    { Type: 'tmpfs', Target: '/t', ReadOnly: false, TmpfsOptions: { SizeBytes: 64 * 1024 * 1024, Mode: 0o1770 } },
    { Type: 'volume', Target: '/v', ReadOnly: true, Source: 'v' },
  ]);
  assert.deepEqual(config.ExposedPorts, { '80/tcp': {} });
});

test("null and missing members are as Go reads them; the network's settings are found", () => {
  const { networks, config, hostConfig } = convert({
    Cmd: 'true',
    Entrypoint: null,
    Env: null,
    MacAddress: '02:42:00:00:00:01',
    HostConfig: { NetworkMode: 'shared', Binds: null },
    NetworkingConfig: {
      EndpointsConfig: { shared: { IPAMConfig: { IPv4Address: '10.7.0.9' }, Aliases: ['tool'] } },
    },
  });
  assert.deepEqual(networks.get('shared'), {
    aliases: ['tool'],
    ipv4Address: '10.7.0.9',
    ipv6Address: '',
    mac: '02:42:00:00:00:01',
  });
  assert.deepEqual([config.Cmd, config.Entrypoint, config.Env], [['true'], null, []]);
  assert.equal(hostConfig.ShmSize, 64 * 1024 * 1024);
});

test('what Skein does not have is refused with a sentence, what cannot be in words', () => {
  for (const host of [
    { DeviceRequests: [{}] },
    { PidMode: 'container:x' },
    { IpcMode: 'container:x' },
    { VolumesFrom: ['x'] },
    { Links: ['x'] },
  ]) {
    assert.throws(() => convert({ HostConfig: host }), { code: 'Unimplemented', message: /^Skein .*\.$/ });
  }
  for (const [host, message] of [
    [{ RestartPolicy: { Name: 'sometimes' } }, /invalid restart policy 'sometimes'/],
    [
      { AutoRemove: true, RestartPolicy: { Name: 'always' } },
      /can't create 'AutoRemove' container with restart policy/,
    ],
    [{ Binds: ['/x'] }, /invalid volume specification: '\/x'/],
  ] as const) {
    assert.throws(() => convert({ HostConfig: host }), { code: 'InvalidArgument', message });
  }
});

test('a health check is kept as given, its start interval since API 1.44, and what is too short is refused', () => {
  const Healthcheck = { Test: ['CMD', 'true'], StartPeriod: 2e9, StartInterval: 1e9, Interval: 0 };
  const { Interval: _none, ...kept } = Healthcheck;
  assert.deepEqual(convert({ Healthcheck }, 44).config.Healthcheck, kept);
  assert.deepEqual(convert({ Healthcheck: { StartInterval: 1e9 } }, 43).config.Healthcheck, undefined);
  assert.deepEqual(convert({ Healthcheck: {} }).config.Healthcheck, undefined);
  const refused = (change: object, words: string) =>
    assert.throws(() => convert({ Healthcheck: { ...Healthcheck, ...change } }), { message: words });
  refused({ StartInterval: 1000 }, 'StartInterval in Healthcheck cannot be less than 1ms');
  refused({ Retries: -1 }, 'Retries in Healthcheck cannot be negative');
});
