import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FlagError } from './errors.ts';
import { flagTable, parseLine } from './flags.ts';
import { parseBytes, parseDecimal, parseDuration } from './units.ts';

const specs = flagTable(`
  -d, --detach          Leave it running
  -i, --interactive     Keep input open
  -t, --tty             Terminal
  -e, --env list        Variables
  --name string=none    Name
  --replicas uint       Count
  --subnet strings      Subnets
`);

test('reads long, short, grouped and inline flags, and leaves arguments in order', () => {
  const { flags, args } = parseLine(
    ['-it', 'a', '--env=A=1', '-eB=2', '-e', 'C', '--name', 'x', '--detach=false', 'b'],
    specs,
    true,
  );
  assert.deepEqual(args, ['a', 'b']);
  assert.deepEqual(flags.list('env'), ['A=1', 'B=2', 'C']);
  assert.equal(flags.on('interactive') && flags.on('tty'), true);
  assert.equal(flags.on('detach'), false);
  assert.equal(flags.changed('detach'), true);
  assert.equal(flags.text('name'), 'x');
});

test('ends the flags at the first argument where the rest is a command, and at --', () => {
  assert.deepEqual(parseLine(['-i', 'web', 'ls', '-t'], specs, false).args, ['web', 'ls', '-t']);
  assert.deepEqual(parseLine(['a', '--', '-t'], specs, true).args, ['a', '-t']);
});

test('splits comma-separated kinds and keeps defaults', () => {
  const { flags } = parseLine(['--subnet', 'a,b', '--subnet', 'c'], specs, true);
  assert.deepEqual(flags.list('subnet'), ['a', 'b', 'c']);
  assert.equal(flags.text('name'), 'none');
});

const refused: readonly (readonly [string[], string])[] = [
  [['--foo'], 'unknown flag: --foo'],
  [['-z'], "unknown shorthand flag: 'z' in -z"],
  [['--name'], 'flag needs an argument: --name'],
  [['-e'], "flag needs an argument: 'e' in -e"],
  [['--replicas', 'x'], 'invalid argument "x" for "--replicas" flag: strconv.ParseUint: parsing "x": invalid syntax'],
  [
    ['--detach=foo'],
    'invalid argument "foo" for "-d, --detach" flag: strconv.ParseBool: parsing "foo": invalid syntax',
  ],
];
for (const [line, message] of refused) {
  test(`refuses ${line.join(' ')} as docker does, with exit code 125`, () => {
    assert.throws(
      () => parseLine(line, specs, true),
      (error) => error instanceof FlagError && error.message === message && error.exitCode === 125,
    );
  });
}

test('reads durations, sizes and decimals', () => {
  assert.equal(parseDuration('1m30.5s'), 90.5e9);
  assert.equal(parseDuration('0'), 0);
  assert.throws(() => parseDuration('x'), /time: invalid duration "x"/);
  assert.throws(() => parseDuration('5'), /missing unit/);
  assert.equal(parseBytes('64m'), 64 * 1024 ** 2);
  assert.equal(parseBytes('1.5GiB'), 1.5 * 1024 ** 3);
  assert.throws(() => parseBytes('x'), /invalid size: 'x'/);
  assert.equal(parseDecimal('.5'), 500_000_000);
  assert.throws(() => parseDecimal('x'), /failed to parse x as a rational number/);
});
