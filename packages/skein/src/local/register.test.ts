import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger } from '../common/index.ts';
import { Register } from './register.ts';

test('a file that is no record is set aside: whoever looks through the records would fall over it', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'skein-register-'));
  t.after(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, 'stranger.json'), '{"containerId":"stranger"}');
  const register = new Register(directory, silentLogger());
  register.load();
  assert.deepEqual(register.all(), []);
  assert.deepEqual(readdirSync(directory), ['stranger.json.unreadable']);
});
