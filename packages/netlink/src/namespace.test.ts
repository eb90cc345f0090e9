import assert from 'node:assert/strict';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { NetworkNamespace } from './namespace.ts';
import { readSysctl, writeSysctl } from './sysctl.ts';
import { TestNamespaces } from './testing.ts';

const namespaces = new TestNamespaces('namespace');
after(() => namespaces[Symbol.dispose]());

const currentInode = (): bigint => {
  using current = NetworkNamespace.current();
  return current.inode;
};
const openDescriptors = (): number => readdirSync('/proc/self/fd').length;

test('creating a namespace leaves the thread where it was and no descriptor but the handle', () => {
  const [inode, descriptors] = [currentInode(), openDescriptors()];
  const namespace = namespaces.create('made');
  assert.equal(currentInode(), inode);
  assert.notEqual(namespace.inode, inode);
  assert.equal(openDescriptors(), descriptors + 1);
});

test('a namespace is the same through each of its paths', () => {
  const namespace = namespaces.create('paths');
  using again = NetworkNamespace.open(namespaces.path('paths'));
  using byDescriptor = NetworkNamespace.open(`/proc/self/fd/${namespace.fd}`);
  assert.ok(again.equals(namespace));
  assert.ok(byDescriptor.equals(namespace));
  assert.ok(!again.equals(namespaces.create('another')));
});

test('run enters the namespace for the call only, nested and after an exception too', () => {
  const [outer, inner] = [namespaces.create('outer'), namespaces.create('inner')];
  const home = currentInode();
  const seen = outer.run(() => [currentInode(), inner.run(currentInode), currentInode()]);
  assert.deepEqual(seen, [outer.inode, inner.inode, outer.inode]);
  assert.throws(() => outer.run(() => assert.fail('inside')), /inside/);
  assert.equal(currentInode(), home);
});

test('run refuses an asynchronous action and comes home', () => {
  const namespace = namespaces.create('async');
  const home = currentInode();
  assert.throws(() => namespace.run(async () => 'later'), TypeError);
  assert.equal(currentInode(), home);
});

test('a second creation at one path is EEXIST and does not harm the first', () => {
  const namespace = namespaces.create('taken');
  assert.throws(() => NetworkNamespace.create(namespaces.path('taken')), { name: 'SystemError', code: 'EEXIST' });
  using again = NetworkNamespace.open(namespaces.path('taken'));
  assert.ok(again.equals(namespace));
});

test('the empty file of an interrupted creation is no namespace and is taken over', () => {
  const path = namespaces.path('interrupted');
  namespaces.create('neighbour-of-interrupted');
  writeFileSync(path, '');
  assert.equal(NetworkNamespace.exists(path), false);
  assert.throws(() => NetworkNamespace.open(path), { name: 'SystemError', code: 'EINVAL' });
  namespaces.create('interrupted');
  assert.equal(NetworkNamespace.exists(path), true);
});

test('a file with content is never mounted over', () => {
  const path = namespaces.path('precious');
  namespaces.create('neighbour-of-precious');
  writeFileSync(path, 'content');
  assert.throws(() => NetworkNamespace.create(path), { code: 'EEXIST' });
  assert.ok(existsSync(path));
});

test('deleting is complete, and repeating it is no error', () => {
  const path = namespaces.path('deleted');
  using _ = NetworkNamespace.create(path);
  NetworkNamespace.delete(path);
  NetworkNamespace.delete(path);
  assert.equal(existsSync(path), false);
  assert.equal(NetworkNamespace.exists(path), false);
  assert.throws(() => NetworkNamespace.open(path), { code: 'ENOENT' });
});

test('a disposed handle refuses to enter', () => {
  const namespace = namespaces.create('disposed');
  namespace[Symbol.dispose]();
  namespace[Symbol.dispose]();
  assert.throws(() => namespace.run(() => 1), TypeError);
});

test("settings are each namespace's own", () => {
  const [left, right] = [namespaces.create('sysctl-left'), namespaces.create('sysctl-right')];
  const before = readSysctl(right, 'net.ipv4.ip_forward');
  writeSysctl(left, 'net.ipv4.ip_forward', before === '1' ? 0 : 1);
  writeSysctl(left, 'net/ipv4/conf/lo/rp_filter', 2);
  assert.equal(readSysctl(left, 'net.ipv4.ip_forward'), before === '1' ? '0' : '1');
  assert.equal(readSysctl(left, 'net.ipv4.conf.lo.rp_filter'), '2');
  assert.equal(readSysctl(right, 'net.ipv4.ip_forward'), before);
});

test('settings outside the network and paths that leave it are refused', () => {
  const namespace = namespaces.create('sysctl-refused');
  for (const name of ['kernel.hostname', 'net', 'net/../kernel/hostname', 'net..ipv4']) {
    assert.throws(() => readSysctl(namespace, name), TypeError, name);
  }
  assert.throws(() => readSysctl(namespace, 'net.ipv4.none'), { code: 'ENOENT' });
});
