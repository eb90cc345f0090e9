import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { RouteSocket } from '../route/route-socket.ts';
import { udpSocketIn } from '../sockets.ts';
import { TestNamespaces } from '../testing.ts';
import { BPF_F_NO_PREALLOC, BpfMap } from './map.ts';
import { BpfObject, BpfObjectError } from './object.ts';
import { BpfProgram, BpfVerifierError } from './program.ts';
import { attachTcx, detachTcx, TCX_DROP, type TcxTarget, tcxPrograms } from './tcx.ts';

const folder = mkdtempSync(join(tmpdir(), 'skein-bpf-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Counts the frames of each protocol, and drops all while entry 0 of `gate` is set. */
const source = `
typedef unsigned int u32;
typedef unsigned long long u64;
struct __sk_buff { u32 len, pkt_type, mark, queue_mapping, protocol; };
struct map { u32 type, key_size, value_size, max_entries, map_flags; };
#define SECTION(name) __attribute__((section(name), used))
struct map counts SECTION("maps") = { 1, 4, 8, 16, 1 };
struct map gate SECTION("maps") = { 2, 4, 4, 1, 0 };
static void *(*lookup)(void *map, const void *key) = (void *)1;
static long (*update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
SECTION("program") int count(struct __sk_buff *frame)
{
	u32 protocol = frame->protocol, zero = 0;
	u64 one = 1, *seen = lookup(&counts, &protocol);
	u32 *closed = lookup(&gate, &zero);
	if (seen) __sync_fetch_and_add(seen, 1);
	else update(&counts, &protocol, &one, 0);
	return closed && *closed ? 2 : -1;
}
char terms[] SECTION("license") = "GPL";
`;

function compile(name: string, text: string): Uint8Array {
  const path = join(folder, `${name}.o`);
  execFileSync('clang', ['-target', 'bpf', '-O2', '-x', 'c', '-c', '-', '-o', path], { input: text });
  return readFileSync(path);
}

const word = (value: number): Uint8Array => new Uint8Array(new Uint32Array([value]).buffer);
/** `r0 = verdict; exit`. */
const verdictOnly = (verdict: number): Uint8Array =>
  Uint8Array.from([0xb7, 0, 0, 0, ...word(verdict), 0x95, 0, 0, 0, 0, 0, 0, 0]);

test('a map keeps what is written, one by one or many at once, and says when it is full', () => {
  using map = BpfMap.create({
    name: 'test_map',
    type: 'hash',
    keySize: 4,
    valueSize: 6,
    maximumEntries: 700,
    flags: BPF_F_NO_PREALLOC,
  });
  const value = (number: number): Uint8Array => Uint8Array.from([1, 2, 3, 4, number >> 8, number & 0xff]);
  assert.equal(map.get(word(1)), undefined);
  map.set(word(1), value(1));
  map.set(word(1), value(2));
  assert.deepEqual(map.get(word(1)), value(2));
  map.setAll(Array.from({ length: 700 }, (_, number) => [word(number), value(number)]));
  const entries = map.entries().map(([key, bytes]) => [Buffer.from(key).readUInt32LE(0), bytes] as const);
  entries.sort(([left], [right]) => left - right);
  assert.deepEqual(
    entries,
    Array.from({ length: 700 }, (_, number) => [number, value(number)]),
  );
  assert.throws(() => map.set(word(9999), value(0)), { code: 'E2BIG' });
  assert.equal(map.delete(word(5)), true);
  assert.equal(map.delete(word(5)), false);
  assert.equal(map.entries().length, 699);
  assert.throws(() => map.set(Uint8Array.of(1), value(0)), RangeError);
});

test('a program runs; one that the verifier refuses is an error with its log', () => {
  using program = BpfProgram.load({ name: 'drop_all', instructions: verdictOnly(TCX_DROP) });
  const frame = new Uint8Array(64).fill(7);
  assert.deepEqual(program.test(frame), { verdict: TCX_DROP, frame });
  assert.equal(program.name, 'drop_all');
  using again = BpfProgram.byId(program.id);
  assert.equal(again?.name, 'drop_all');
  assert.equal(BpfProgram.byId(0xffffff), undefined);
  const withoutResult = Uint8Array.from([0x95, 0, 0, 0, 0, 0, 0, 0]);
  assert.throws(
    () => BpfProgram.load({ name: 'bad', instructions: withoutResult }),
    (error) => error instanceof BpfVerifierError && error.code === 'EACCES' && /R0 !read_ok/.test(error.log),
  );
  assert.throws(() => BpfProgram.load({ name: 'not a name', instructions: verdictOnly(0) }), RangeError);
});

test('an object of clang is loaded with its maps and sees the frames of a link, also after its owner has gone', async () => {
  using namespaces = new TestNamespaces('bpf');
  const [left, right] = namespaces.pair('left', 'right');
  using route = RouteSocket.open(right);
  const target: TcxTarget = {
    namespace: right,
    index: route.links.get('eth0')?.index ?? 0,
    direction: 'ingress',
  };
  const object = new BpfObject(compile('count', source));
  assert.deepEqual([object.mapNames.sort(), object.programNames], [['counts', 'gate'], ['count']]);
  assert.throws(() => object.loadProgram('count', new Map()), BpfObjectError);
  using counts = object.createMap('counts');
  using gate = object.createMap('gate');
  const maps = new Map(Object.entries({ counts, gate }));
  const attached = (): string[] =>
    tcxPrograms(target).map((program) => {
      program[Symbol.dispose]();
      return `${program.name} ${program.id}`;
    });

  using foreign = BpfProgram.load({ name: 'foreign', instructions: verdictOnly(0xffffffff) });
  attachTcx(target, foreign);
  const first = object.loadProgram('count', maps);
  attachTcx(target, first);
  attachTcx(target, first);
  assert.deepEqual(attached(), [`foreign ${foreign.id}`, `count ${first.id}`]);
  first[Symbol.dispose]();
  assert.deepEqual(attached(), [`foreign ${foreign.id}`, `count ${first.id}`], 'it belongs to the link');
  using second = object.loadProgram('count', maps);
  attachTcx(target, second);
  assert.deepEqual(attached(), [`foreign ${foreign.id}`, `count ${second.id}`], 'replaced in its place');

  const server = await udpSocketIn(right, { address: '0.0.0.0', port: 0 });
  const client = await udpSocketIn(left, { address: '0.0.0.0', port: 0 });
  try {
    const { promise: heard, resolve } = Promise.withResolvers<void>();
    server.once('message', () => resolve());
    const knock = setInterval(() => client.send('knock', server.address().port, '10.99.0.2'), 20);
    await heard;
    clearInterval(knock);
  } finally {
    client.close();
    server.close();
  }
  const ipv4 = counts.entries().find(([key]) => Buffer.from(key).readUInt16BE(0) === 0x0800);
  assert.ok(
    ipv4?.[1].some((byte) => byte > 0),
    JSON.stringify(counts.entries()),
  );
  gate.set(word(0), word(1));
  assert.equal(second.test(new Uint8Array(64)).verdict, TCX_DROP);

  detachTcx(target, 'count');
  detachTcx(target, 'count');
  assert.deepEqual(attached(), [`foreign ${foreign.id}`]);
  detachTcx({ ...target, index: 9999 }, 'count');
});

test('what is no BPF object is refused in words', () => {
  const good = compile('whole', source);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(good.length), (bytes, offset) => {
      const broken = Buffer.from(good);
      broken.set(bytes.subarray(0, Math.max(0, broken.length - offset)), Math.min(offset, broken.length));
      try {
        new BpfObject(broken.subarray(0, offset));
      } catch (error) {
        assert.ok(error instanceof BpfObjectError, String(error));
      }
      try {
        new BpfObject(broken);
      } catch (error) {
        assert.ok(error instanceof BpfObjectError, String(error));
      }
    }),
  );
  const global = 'int value; __attribute__((section("p"), used)) int f(void *frame) { return value++; }';
  assert.throws(() => new BpfObject(compile('global', global)), /f refers to value, which is no map/);
  const perCpu = source.replace('= { 1, 4, 8, 16, 1 }', '= { 6, 4, 8, 16, 0 }');
  assert.throws(() => new BpfObject(compile('per-cpu', perCpu)).createMap('counts'), /type 6 is not supported/);
});
