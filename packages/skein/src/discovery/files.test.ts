import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostsFile, parseResolvConf, resolvConf } from './files.ts';

test('resolv.conf as Docker writes it, with what the host or the user adds', () => {
  assert.equal(resolvConf({ search: [], options: [] }), 'nameserver 127.0.0.11\noptions ndots:0\n');
  assert.equal(
    resolvConf({ search: ['a.example', 'b.example'], options: ['ndots:2', 'rotate'] }),
    'search a.example b.example\nnameserver 127.0.0.11\noptions ndots:2 rotate\n',
  );
});

test('reads a resolv.conf and survives its errors', () => {
  const text = [
    '# comment',
    'domain old.example',
    'search a.example b.example ; tail',
    'nameserver 192.0.2.1 # first',
    'nameserver fe80::1%eth0',
    'nameserver nonsense',
    'nameserver',
    'options timeout:1 attempts:2',
    'options edns0',
    'whatever',
  ].join('\n');
  assert.deepEqual(parseResolvConf(text), {
    nameservers: ['192.0.2.1', 'fe80::1%eth0'],
    search: ['a.example', 'b.example'],
    options: ['timeout:1', 'attempts:2', 'edns0'],
  });
  assert.deepEqual(parseResolvConf(''), { nameservers: [], search: [], options: [] });
});

test('/etc/hosts as Docker writes it', () => {
  const hosts = hostsFile({
    hostname: '17f596ab61ca',
    names: [],
    addresses: ['10.0.1.4'],
    extra: [{ address: '192.0.2.7', names: ['db', 'database'] }],
  });
  assert.equal(
    hosts,
    '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n' +
      'ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n' +
      '192.0.2.7\tdb database\n10.0.1.4\t17f596ab61ca\n',
  );
  assert.ok(
    hostsFile({ hostname: 'a.b.c', names: [], addresses: ['10.0.0.1'], extra: [] }).endsWith('10.0.0.1\ta.b.c a\n'),
  );
});
