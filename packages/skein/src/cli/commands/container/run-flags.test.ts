import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { flagTable, parseLine } from '../../command/flags.ts';
import { createBody, createFlags, parseDevice, portBindings } from './run-flags.ts';

const body = (...words: string[]) => {
  const { flags, args } = parseLine(words, flagTable(createFlags), false);
  const [image = '', ...command] = args;
  const context = { environment: { OWN: 'mine' } } as unknown as Parameters<typeof createBody>[0];
  return createBody(context, flags, image, command) as Record<string, never> & { HostConfig: Record<string, unknown> };
};

test('published ports: addresses, ranges and protocols', () => {
  assert.deepEqual(portBindings(['8080:80', '127.0.0.1:9000-9001:90-91/udp', '443', '[::1]:7:7', '5000-5010:50']), {
    '80/tcp': [{ HostIp: '', HostPort: '8080' }],
    '90/udp': [{ HostIp: '127.0.0.1', HostPort: '9000' }],
    '91/udp': [{ HostIp: '127.0.0.1', HostPort: '9001' }],
    '443/tcp': [{ HostIp: '', HostPort: '' }],
    '7/tcp': [{ HostIp: '::1', HostPort: '7' }],
    '50/tcp': [{ HostIp: '', HostPort: '5000-5010' }],
  });
  for (const wrong of ['x', '1:x', '2-1:3', '8000-8001:80-82', '99999']) {
    assert.throws(() => portBindings([wrong]), { name: 'CommandError' }, wrong);
  }
});

test('every pair of ports is found again', () => {
  const port = fc.integer({ min: 1, max: 65_535 });
  fc.assert(
    fc.property(port, port, fc.constantFrom('tcp', 'udp', 'sctp'), (host, container, protocol) => {
      const bindings = portBindings([`${host}:${container}/${protocol}`]);
      assert.deepEqual(bindings, { [`${container}/${protocol}`]: [{ HostIp: '', HostPort: String(host) }] });
    }),
  );
});

test('flags become the body; words after the image are the command', () => {
  const made = body('-it', '-e', 'A=b', '-e', 'OWN', '-v', '/anon', '-v', 'named:/n:ro', 'ubuntu', 'sh', '-c', 'x');
  assert.deepEqual(made.Cmd, ['sh', '-c', 'x']);
  assert.deepEqual(made.Env, ['A=b', 'OWN=mine']);
  assert.deepEqual([made.Tty, made.OpenStdin, made.StdinOnce], [true, true, true]);
  assert.deepEqual([made.Volumes, made.HostConfig.Binds], [{ '/anon': {} }, ['named:/n:ro']]);
});

test('the first network takes --ip and the aliases; the long form brings its own', () => {
  const made = body('--network', 'name=one,alias=x,ip=10.0.0.5', '--network', 'two', '--network-alias', 'y', 'ubuntu');
  assert.equal(made.HostConfig.NetworkMode, 'one');
  assert.deepEqual(made.NetworkingConfig, {
    EndpointsConfig: {
      one: { IPAMConfig: { IPv4Address: '10.0.0.5' }, Aliases: ['x', 'y'], MacAddress: '' },
      two: { Aliases: [], MacAddress: '' },
    },
  });
  const both = body('--network', 'one', '--ip6', 'fd00::5', '--network', 'name=two,ip6=fd00:2::5', 'ubuntu');
  assert.deepEqual(both.NetworkingConfig, {
    EndpointsConfig: {
      one: { IPAMConfig: { IPv6Address: 'fd00::5' }, Aliases: [], MacAddress: '' },
      two: { IPAMConfig: { IPv6Address: 'fd00:2::5' }, Aliases: [], MacAddress: '' },
    },
  });
});

test('devices: a path, another one inside, what may be done with it', () => {
  const read = (text: string) => Object.values(parseDevice(text));
  assert.deepEqual(read('/dev/a'), ['/dev/a', '/dev/a', 'rwm']);
  assert.deepEqual(read('/dev/a:r'), ['/dev/a', '/dev/a', 'r']);
  assert.deepEqual(read('/dev/a:/dev/b:rw'), ['/dev/a', '/dev/b', 'rw']);
  assert.throws(() => parseDevice('/dev/a:/dev/b:x'), { message: 'bad mode specified: x' });
  assert.throws(() => parseDevice('/dev/a:b'), { message: 'b is not an absolute path' });
});
