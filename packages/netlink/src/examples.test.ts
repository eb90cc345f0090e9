import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const folder = join(import.meta.dirname, '../examples');

/** What each example must print. */
const expected: Record<string, RegExp> = {
  'capture.ts': /^out 52 bytes\nin 52 bytes\n/,
  'firewall.ts': /"packets":3[^\n]*\nNftablesError: nftables: No such file or directory/,
  'two-namespaces.ts': /from 192\.0\.2\.1, MTU 1500\necho: hello\n/,
  'vxlan-overlay.ts': /echo: hello through VXLAN\n(.*\n)*underlay: 172\.31\.1\.1 > 172\.31\.1\.2 VNI 4097: 10\.0\.1\.1/,
  'watch-links.ts': /now: lo\nlink br0: set(.|\n)*address 192\.0\.2\.1: set\n(.|\n)*link br0: deleted/,
};

test('every example has an expectation', () => {
  assert.deepEqual(readdirSync(folder).sort(), Object.keys(expected));
});

for (const [name, pattern] of Object.entries(expected)) {
  test(`examples/${name} runs and leaves nothing behind`, async () => {
    const { pid, output } = await run(join(folder, name));
    assert.match(output, pattern);
    const left = readdirSync('/run').filter((entry) => entry.startsWith(`netlink-example-${pid}-`));
    assert.deepEqual(left, []);
  });
}

function run(file: string): Promise<{ pid: number; output: string }> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      process.execPath,
      ['--conditions=source', file],
      { timeout: 20_000 },
      (error, stdout, stderr) => {
        if (error) reject(new Error(`${file}: ${stdout}${stderr}`, { cause: error }));
        else resolve({ pid: child.pid ?? 0, output: stdout });
      },
    );
  });
}
