/** `skein lab` as a user types it: up, ls, exec, kill, start, down; and that `down` leaves nothing, whenever `up` was killed. */
import assert from 'node:assert/strict';
import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { labCgroups, labProcesses } from '../packages/skein/src/lab/processes.ts';
import { skeinBinary } from './support/cluster.ts';

const name = 'labtest';
const cgroup = `/skein-lab/${name}`;
const commandTimeoutMs = 60_000;

function lab(...words: string[]): SpawnSyncReturns<string> {
  return spawnSync(skeinBinary, ['lab', '--name', name, ...words], { encoding: 'utf8', timeout: commandTimeoutMs });
}

function mustLab(...words: string[]): string {
  const { status, stdout, stderr } = lab(...words);
  assert.equal(status, 0, `skein lab ${words.join(' ')}: ${stdout}${stderr}`);
  return stdout;
}

/** All that a lab can leave on the machine. Its namespaces are held by its processes and by nothing else. */
function leftOvers(): string[] {
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  return [
    ...[...labProcesses(name, cgroup)].map((pid) => `process ${pid} ${commandOf(pid)}`),
    ...labCgroups(cgroup),
    ...[`/run/skein-lab/${name}`, `/var/lib/skein-lab/${name}`].filter(existsSync),
    ...mounts.filter((line) => line.includes(`/skein-lab/${name}`)),
  ];
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return ''; // It ended meanwhile.
  }
}

describe('skein lab', { timeout: 180_000 }, () => {
  before(() => mustLab('down'));
  after(() => mustLab('down'));

  test('up, ls, exec, kill, start and down do what they say', () => {
    const up = mustLab('up', '--nodes', '2');
    assert.match(up, /node1 +172\.31\.1\.5 +pid \d+ +unix:\/\/\S+/);
    assert.match(up, /node2 +172\.31\.1\.6 +pid \d+ +unix:\/\/\S+/);
    const dockerHost = /unix:\/\/\S+node1\S+/.exec(up)?.[0] ?? '';
    const info = spawnSync('docker', ['-H', dockerHost, 'info', '--format', '{{.Name}}'], { encoding: 'utf8' });
    assert.equal(info.stdout, 'node1\n', info.stderr);

    assert.match(mustLab('exec', 'node2', '--', 'ip', '-4', '-o', 'addr', 'show', 'eth0'), /172\.31\.1\.6\/24/);
    assert.match(mustLab('exec', 'node1', '--', 'busybox', 'ping', '-c', '1', '-W', '2', 'node2'), / 0% packet loss/);
    assert.equal(lab('exec', 'node1', '--', 'sh', '-c', 'exit 7').status, 7);
    const unknown = lab('exec', 'node9', '--', 'true');
    assert.notEqual(unknown.status, 0);
    assert.match(unknown.stderr, /no lab host "node9": there are node1, node2/);
    const second = lab('up');
    assert.notEqual(second.status, 0);
    assert.match(second.stderr, /is up already/);

    mustLab('kill', 'node2');
    assert.match(mustLab('ls'), /node2 .*not running/);
    mustLab('start', 'node2');
    assert.match(mustLab('ls'), /node2 .*pid \d+/);

    mustLab('down');
    assert.deepEqual(leftOvers(), []);
    assert.match(lab('exec', 'node1', '--', 'true').stderr, /is not up/);
    mustLab('down');
  });

  // From the first directory over the hosts, their wires and containerd to the daemons' sockets.
  for (const milliseconds of [150, 300, 450, 600, 900, 1300]) {
    test(`down leaves nothing of an up that was killed after ${milliseconds} ms`, async () => {
      const up = spawn(skeinBinary, ['lab', '--name', name, 'up', '--nodes', '3'], { stdio: 'ignore' });
      const exited = once(up, 'exit');
      await sleep(milliseconds);
      up.kill('SIGKILL');
      await exited;
      mustLab('ls'); // Whatever has been made so far.
      mustLab('down');
      assert.deepEqual(leftOvers(), []);
    });
  }
});
