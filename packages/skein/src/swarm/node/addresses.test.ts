import assert from 'node:assert/strict';
import type { NetworkInterfaceInfo } from 'node:os';
import { test } from 'node:test';
import { addressTowards, formatHostPort, managerAddress, parseHostPort, resolveAddresses } from './addresses.ts';

const v4 = (address: string, internal = false): NetworkInterfaceInfo => ({
  address,
  internal,
  family: 'IPv4',
  netmask: '255.255.255.0',
  mac: '',
  cidr: null,
});
const v6 = (address: string, scopeid = 0): NetworkInterfaceInfo => ({
  address,
  internal: false,
  family: 'IPv6',
  netmask: 'ffff:ffff:ffff:ffff::',
  mac: '',
  cidr: null,
  scopeid,
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

test('a host with IPv6 only advertises its one address that others can reach', () => {
  const interfaces = { ...lo, eth0: [v6('fe80::1', 2), v6('fd00:31:1::5')] };
  const expected = {
    listen: { host: '0.0.0.0', port: 2377 },
    advertise: { host: 'fd00:31:1::5', port: 2377 },
    dataPath: 'fd00:31:1::5',
  };
  assert.deepEqual(resolveAddresses(nothing, interfaces), expected);
  for (const advertiseAddress of ['eth0', 'FD00:31:1:0::5', '[fd00:31:1::5]:2377'])
    assert.deepEqual(resolveAddresses({ ...nothing, advertiseAddress }, interfaces), expected);
  assert.deepEqual(resolveAddresses({ ...nothing, listenAddress: '[::]:7000' }, interfaces), {
    listen: { host: '::', port: 7000 },
    advertise: { host: 'fd00:31:1::5', port: 7000 },
    dataPath: 'fd00:31:1::5',
  });
  for (const advertiseAddress of ['::', 'fe80::1%eth0'])
    assert.throws(
      () => resolveAddresses({ ...nothing, advertiseAddress }, interfaces),
      /advertise address must be a non-zero IP address/,
    );
  assert.throws(
    () => resolveAddresses({ ...nothing, advertiseAddress: 'fe80::1' }, interfaces),
    /the data path address fe80::1 is of one link only/,
  );
  assert.equal(resolveAddresses({ ...nothing, advertiseAddress: '::ffff:10.1.0.1' }, interfaces).dataPath, '10.1.0.1');
});

test("a manager's address is taken with brackets, or without a port", () => {
  for (const [given, address] of [
    ['[fd00:31:1::5]:2377', '[fd00:31:1::5]:2377'],
    ['[FD00:31:1:0::5]:7000', '[fd00:31:1::5]:7000'],
    ['[fd00:31:1::5]', '[fd00:31:1::5]:2377'],
    ['fd00:31:1::5', '[fd00:31:1::5]:2377'],
    ['tcp://10.0.0.1', '10.0.0.1:2377'],
    ['manager1:7000', 'manager1:7000'],
    [':2377', '0.0.0.0:2377'],
  ] as const)
    assert.equal(managerAddress(given), address);
});

test("what is no manager's address is refused in the words of Docker", () => {
  for (const [given, words] of [
    ['', 'invalid remoteAddr "": invalid empty address'],
    ['fd00:31:1::5:2377', 'dial udp: address fd00:31:1::5:2377: too many colons in address'],
    ['a:b:c', 'dial udp: address a:b:c: too many colons in address'],
    ['fd00::5]:2377', 'dial udp: address fd00::5]:2377: too many colons in address'],
    ['[fd00::5', "dial udp: address [fd00::5: missing ']' in address"],
    ['[fd00::5]:99999', 'dial udp: address 99999: invalid port'],
    ['[fd00::5]:0', 'dial udp: address 0: invalid port'],
    ['[fd00::5]:x', 'dial udp: address udp/x: unknown port'],
    ['[fe80::1%eth0]:2377', 'dial udp: lookup fe80::1%eth0: no such host'],
    ['a b:2377', 'dial udp: lookup a b: no such host'],
  ] as const)
    assert.throws(
      () => managerAddress(given),
      (error: Error) => error.message === words || error.message === `could not find local IP address: ${words}`,
      given,
    );
});

test('the address towards a manager is of its family', async () => {
  assert.equal(await addressTowards('127.0.0.1:2377'), '127.0.0.1');
  assert.equal(await addressTowards('[::1]:2377'), '::1');
});
