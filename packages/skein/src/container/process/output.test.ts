import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { silentLogger } from '../../common/index.ts';
import type { LogEntry } from '../types.ts';
import { ProcessOutput } from './output.ts';

/** A log on a disk that is full for a while. */
class FullDisk {
  full = true;
  readonly lines: string[] = [];

  async append(entries: readonly LogEntry[]): Promise<void> {
    if (this.full) throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
    this.lines.push(...entries.map(({ line }) => Buffer.from(line).toString()));
  }
}

test('output goes on while the log cannot be written, and is in the log again when it can', async () => {
  const streams = { stdin: undefined, stdout: new PassThrough(), stderr: undefined };
  const log = new FullDisk();
  const options = { logger: silentLogger(), closeInput: async () => undefined };
  const output = new ProcessOutput(streams, log as never, options);
  const client = { stdin: undefined, stdout: new PassThrough(), stderr: undefined };
  output.connect(client);
  streams.stdout.write('lost\n');
  await sleep(10);
  log.full = false;
  streams.stdout.end('kept\n');
  assert.equal(await Promise.race([output.ended, sleep(1000, 'goes on', { ref: false })]), undefined);
  assert.deepEqual([log.lines, client.stdout.read()?.toString()], [['kept\n'], 'lost\nkept\n']);
});
