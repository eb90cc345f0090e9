import assert from 'node:assert/strict';
import type { NetworkInterfaceInfo } from 'node:os';
import { test } from 'node:test';
import { formatHostPort, parseHostPort, resolveAddresses } from './addresses.ts';

const v4 = (address: string, internal = false): NetworkInterfaceInfo => ({
  address,
  internal,
  family: 'IPv4',
  netmask: '255.255.255.0',
  mac: '',
  cidr: null,
});
const lo = { lo: [v4('127.0.0.1', true)] };
const nothing = { listenAddress: '', advertiseAddress: '', dataPathAddress: '' };

test('a host with one address advertises it, on the default port', () => {
  assert.deepEqual(
    resolveAddresses(nothing, { ...lo, eth0: [v4('172.31.1.5')], docker_gwbridge: [v4('172.18.0.1')] }),
    {
      listen: { host: '0.0.0.0', port: 2377 },
      advertise: { host: '172.31.1.5', port: 2377 },
      dataPath: '172.31.1.5',
    },
  );
});

test('an interface may stand for its address, and each address may be given', () => {
  const interfaces = { ...lo, eth0: [v4('10.1.0.1')], eth1: [v4('10.2.0.1')] };
  const found = resolveAddresses(
    { listenAddress: 'eth0:7000', advertiseAddress: 'eth0', dataPathAddress: 'eth1' },
    interfaces,
  );
  assert.deepEqual(found, {
    listen: { host: '10.1.0.1', port: 7000 },
    advertise: { host: '10.1.0.1', port: 7000 },
    dataPath: '10.2.0.1',
  });
});

test('several addresses, none, or an impossible one are refused in the words of Docker', () => {
  const two = { ...lo, eth0: [v4('10.1.0.1')], eth1: [v4('10.2.0.1')] };
  assert.throws(
    () => resolveAddresses(nothing, two),
    /multiple addresses on different interfaces \(10.1.0.1 on eth0 and 10.2.0.1 on eth1\) - specify one with --advertise-addr/,
  );
  assert.throws(
    () => resolveAddresses(nothing, { ...lo, eth0: [v4('10.1.0.1'), v4('10.1.0.2')] }),
    /multiple addresses on interface eth0/,
  );
  assert.throws(() => resolveAddresses(nothing, lo), /could not find the system's IP address/);
  assert.throws(
    () => resolveAddresses({ ...nothing, advertiseAddress: '0.0.0.0' }, two),
    /advertise address must be a non-zero IP address/,
  );
  assert.throws(() => resolveAddresses({ ...nothing, advertiseAddress: 'nosuch' }, two), /advertise address must be/);
  assert.throws(() => resolveAddresses({ ...nothing, listenAddress: '1.2.3.4:99999' }, two), /invalid port 99999/);
});

test('host and port are parsed and printed, with IPv6 in brackets', () => {
  assert.deepEqual(parseHostPort('[fd00::1]:80', 1), { host: 'fd00::1', port: 80 });
  assert.deepEqual(parseHostPort('fd00::1', 1), { host: 'fd00::1', port: 1 });
  assert.equal(formatHostPort({ host: 'fd00::1', port: 2377 }), '[fd00::1]:2377');
  assert.equal(formatHostPort({ host: '10.0.0.1', port: 2377 }), '10.0.0.1:2377');
});
