import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import type { LogEntry, LogOptions } from '../types.ts';
import { decodeEntry, encodeEntry, LineSplitter, maximumLineBytes } from './json-log.ts';
import { LogFile, logLimits, parseSize } from './log-file.ts';

const entryOf = (text: string): LogEntry => ({
  stream: 'stdout',
  timestamp: '2026-11-25T00:00:00.5Z',
  line: Buffer.from(text),
});

test('an entry has Docker’s form', () => {
  assert.equal(
    encodeEntry(entryOf('a "b"\n')),
    '{"log":"a \\"b\\"\\n","stream":"stdout","time":"2026-11-25T00:00:00.5Z"}\n',
  );
});

test('entries survive the way into the file and back', () => {
  fc.assert(
    fc.property(fc.string(), fc.constantFrom('stdout' as const, 'stderr' as const), (text, stream) => {
      const entry = { ...entryOf(text.toWellFormed()), stream };
      assert.deepEqual(decodeEntry(encodeEntry(entry).trimEnd()), entry);
    }),
  );
});

test('a broken line is no entry', () => {
  for (const line of ['', '{"log":"a', '{}', '{"log":1,"stream":"stdout","time":""}'])
    assert.equal(decodeEntry(line), undefined);
});

test('lines do not depend on how the stream was cut', () => {
  fc.assert(
    fc.property(fc.array(fc.stringMatching(/^[ab\n]{0,20}$/), { maxLength: 10 }), (chunks) => {
      const splitter = new LineSplitter();
      const lines = chunks.flatMap((chunk) => splitter.push(Buffer.from(chunk)));
      const rest = splitter.flush();
      const seen = [...lines, ...(rest ? [rest] : [])].map(String);
      assert.deepEqual(seen, chunks.join('').match(/[^\n]*\n|[^\n]+$/g) ?? []);
    }),
  );
});

test('an over-long line comes in parts of 16 KiB', () => {
  const splitter = new LineSplitter();
  const lines = splitter.push(Buffer.from(`${'x'.repeat(maximumLineBytes * 2 + 5)}\n`));
  assert.deepEqual(
    lines.map(({ length }) => length),
    [maximumLineBytes, maximumLineBytes, 6],
  );
});

test('limits are read as Docker reads them', () => {
  assert.equal(parseSize('10m'), 10 * 1024 * 1024);
  assert.equal(parseSize('1.5k'), 1536);
  assert.throws(() => parseSize('ten'), /invalid size: 'ten'/);
  assert.deepEqual(logLimits({ Type: '', Config: { 'max-size': '1k', 'max-file': '3' } }), {
    maximumBytes: 1024,
    maximumFiles: 3,
  });
  assert.throws(() => logLimits({ Type: 'syslog', Config: {} }), /no log driver named 'syslog' is registered/);
});

async function withLog(
  limits: { maximumBytes: number; maximumFiles: number },
  use: (path: string, log: LogFile) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'skein-log-'));
  const path = join(directory, 'json.log');
  await using log = new LogFile(path, limits);
  try {
    await use(path, log);
  } finally {
    await rm(directory, { recursive: true });
  }
}

async function textsOf(log: LogFile, options: Partial<LogOptions> = {}): Promise<string[]> {
  const texts: string[] = [];
  for await (const { line } of log.read({ stdout: true, stderr: true, follow: false, ...options }))
    texts.push(String(line).trim());
  return texts;
}

test('a full log is rotated; tail and follow go across the files', async () => {
  await withLog({ maximumBytes: 400, maximumFiles: 3 }, async (_, log) => {
    log.begin();
    const following = textsOf(log, { follow: true });
    const numbers = Array.from({ length: 20 }, (_, number) => String(number));
    for (const number of numbers) await log.append([entryOf(`${number}\n`)]);
    const kept = await textsOf(log);
    assert.deepEqual(kept, numbers.slice(-kept.length));
    assert.ok(kept.length >= 10 && kept.length < 20, `${kept.length} kept`);
    assert.deepEqual(await textsOf(log, { tail: 7 }), numbers.slice(-7));
    await log.finish();
    assert.deepEqual((await following).at(-1), '19');
  });
});

test('a line that a crash cut short does not spoil the next one', async () => {
  await withLog({ maximumBytes: Number.POSITIVE_INFINITY, maximumFiles: 1 }, async (path, log) => {
    await writeFile(path, `${encodeEntry(entryOf('whole\n'))}{"log":"cut`);
    await log.append([entryOf('next\n')]);
    assert.deepEqual(await textsOf(log), ['whole', 'next']);
  });
});
