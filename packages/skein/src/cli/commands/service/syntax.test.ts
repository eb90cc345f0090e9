import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { flagTable } from '../../command/flags.ts';
import { DetachWatcher, parseDetachKeys } from '../container/detach.ts';
import { createFlags, updateFlags } from './flags.ts';
import { familiarImage } from './image.ts';
import {
  capability,
  hostLine,
  parseCredentialSpec,
  parseFileReference,
  parseGenericResource,
  parseMount,
  parseNetwork,
  parsePorts,
  parseUlimit,
  splitWords,
} from './syntax.ts';

const hasDocker = (process.env.PATH ?? '').split(':').some((directory) => existsSync(join(directory, 'docker')));

test('reads published ports, short and long', () => {
  const tcp = { Protocol: 'tcp', PublishMode: 'ingress' };
  assert.deepEqual(parsePorts('8080:80'), [{ ...tcp, TargetPort: 80, PublishedPort: 8080 }]);
  assert.deepEqual(parsePorts('99'), [{ ...tcp, TargetPort: 99 }]);
  assert.deepEqual(
    parsePorts('80-81:90-91/udp').map((port) => port.PublishedPort),
    [80, 81],
  );
  assert.deepEqual(parsePorts('published=82,target=2,mode=host'), [
    { Protocol: 'tcp', PublishMode: 'host', TargetPort: 2, PublishedPort: 82 },
  ]);
  assert.throws(() => parsePorts('99999:80'), /invalid hostPort: 99999/);
  assert.throws(() => parsePorts('x'), /invalid containerPort: x/);
  assert.throws(() => parsePorts('mode=host'), /missing mandatory field "target"/);
});

test('reads mounts, networks, secrets and ulimits', () => {
  assert.deepEqual(parseMount('type=bind,source=/tmp,target=/x,readonly'), {
    Type: 'bind',
    Source: '/tmp',
    Target: '/x',
    ReadOnly: true,
  });
  assert.throws(() => parseMount('x'), /invalid field 'x' must be a key=value pair/);
  assert.throws(() => parseMount('type=bind'), /target is required/);
  assert.deepEqual(parseNetwork('name=n,alias=A,driver-opt=a=b'), {
    Target: 'n',
    Aliases: ['a'],
    DriverOpts: { a: 'b' },
  });
  assert.throws(() => parseNetwork('foo=bar'), /invalid field key foo/);
  assert.deepEqual(parseFileReference('source=s,target=/t,mode=0400', 'Secret'), {
    File: { Name: '/t', UID: '0', GID: '0', Mode: 0o400 },
    SecretID: '',
    SecretName: 's',
  });
  assert.deepEqual(parseUlimit('nofile=10:20'), { Name: 'nofile', Soft: 10, Hard: 20 });
  assert.equal(hostLine('a:1.2.3.4'), '1.2.3.4 a');
  assert.equal(capability('net_admin'), 'CAP_NET_ADMIN');
  assert.deepEqual(splitWords(`sh -c "echo 'a b'" c\\ d`), ['sh', '-c', "echo 'a b'", 'c d']);
});

test('reads generic resources and credential specs', () => {
  assert.deepEqual(parseGenericResource('gpu=2'), { DiscreteResourceSpec: { Kind: 'gpu', Value: 2 } });
  assert.deepEqual(parseGenericResource('gpu=UUID-1'), { NamedResourceSpec: { Kind: 'gpu', Value: 'UUID-1' } });
  assert.throws(() => parseGenericResource('gpu'), /it should be of the form NAME=VALUE/);
  assert.deepEqual(parseCredentialSpec('file://spec.json'), { File: 'spec.json' });
  assert.throws(() => parseCredentialSpec('spec.json'), /value must be prefixed with/);
});

test('service create and update have every flag of docker', { skip: !hasDocker && 'no docker CLI here' }, () => {
  for (const [command, own] of [
    ['create', createFlags],
    ['update', updateFlags],
  ] as const) {
    const help = execFileSync('docker', ['service', command, '--help'], { encoding: 'utf8' });
    const wanted = [...help.matchAll(/^ {2}(?:-\w, | {4})--([a-z0-9-]+)/gm)].map((match) => match[1] ?? '');
    const names = flagTable(own).map(({ name }) => name);
    assert.deepEqual(
      wanted.filter((flag) => !names.includes(flag)),
      [],
      `skein service ${command}`,
    );
  }
});

test('names images as docker keeps them', () => {
  assert.equal(familiarImage('ubuntu'), 'ubuntu:latest');
  assert.equal(familiarImage('docker.io/library/ubuntu:22'), 'ubuntu:22');
  assert.equal(familiarImage('localhost:5000/a'), 'localhost:5000/a:latest');
});

test('sees the detach keys across chunks and lets everything else through', () => {
  assert.deepEqual(parseDetachKeys('ctrl-p,ctrl-q'), [16, 17]);
  const watcher = new DetachWatcher('');
  assert.deepEqual(Buffer.from(watcher.feed(Buffer.from('a\x10')).forward).toString(), 'a');
  assert.deepEqual(Buffer.from(watcher.feed(Buffer.from('b')).forward).toString(), '\x10b');
  watcher.feed(Buffer.from('\x10'));
  assert.equal(watcher.feed(Buffer.from('\x11')).detach, true);
});
