/** Strangers, and workers that overstep: refused as dockerd refuses them, logged once with their address, nothing disturbed. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CertificateAuthority } from '../packages/skein/src/swarm/identity/index.ts';
import { rootAuthority } from './support/edit-store.ts';
import { GossipTap } from './support/gossip-tap.ts';
import { MixedSwarm } from './support/mixed.ts';

/** The host that the attempts come from. */
const stranger = '172.31.1.1';
/** gRPC's status codes. */
const code = { unimplemented: 12, permissionDenied: 7, invalidArgument: 3, resourceExhausted: 8, notFound: 5 } as const;

interface Refusal {
  readonly code: number;
  readonly details: string;
}
interface Outcomes {
  readonly unlockKey: Refusal;
  readonly health: Refusal;
  readonly anonymous: Refusal;
  readonly session: Refusal;
  readonly token: Refusal;
  readonly oversized: Refusal;
  readonly malformed: Refusal;
  readonly unknown: Refusal;
  readonly foreign: string;
  readonly valid?: string;
  readonly expired?: string;
  readonly plain: string;
  readonly garbage: string;
  readonly streams: Readonly<Record<string, string>>;
}

test("strangers and oversteppers are refused in swarmkit's words, and the swarm does not notice", async (context) => {
  await using swarm = await MixedSwarm.start('interop-hostile', ['skeind', 'dockerd', 'dockerd', 'dockerd'], {
    members: 2,
  });
  const { cluster } = swarm;
  // node3 is a dockerd with a swarm of its own, whose token node4 brings to ours: docker tries five times.
  swarm.must('node3', 'swarm init --advertise-addr 172.31.1.7');
  const otherToken = swarm.must('node3', 'swarm join-token -q worker').trim();
  const joining = cluster.start('node4', swarm.docker('node4', `swarm join --token ${otherToken} 172.31.1.5:2377`));
  const keys = swarm.gossipKeys();
  const tap = GossipTap.start(cluster.lab.host('node1').networkNamespace, keys);
  swarm.must('node1', 'network create -d overlay net');
  swarm.service('web', 'net', ['--replicas', '2']);
  await swarm.converged('web', 2);
  const before = swarm.members('web');
  const packets = (await tap.stop()).filter(({ transport }) => transport === 'udp');
  const log = (): { msg: string; peer?: string; from?: string; cause?: string; reason?: string; method?: string }[] =>
    readFileSync(cluster.lab.host('node1').paths.log, 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as ReturnType<typeof log>[number]);

  const attempt = (address: string, token: string, authority?: CertificateAuthority): Outcomes => {
    const directory = mkdtempSync(join(tmpdir(), 'skein-hostile-'));
    try {
      const script = join(import.meta.dirname, 'support/hostile.ts');
      const words = [process.execPath, '--conditions=source', '--disable-warning=ExperimentalWarning', script];
      words.push(address, token, join(directory, 'identity'));
      if (authority) words.push(join(directory, 'authority.json'));
      writeFileSync(join(directory, 'authority.json'), JSON.stringify(authority ?? null));
      const printed = cluster.must('outside', words);
      return (JSON.parse(printed) as { outcomes: Outcomes }).outcomes;
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  };
  const ours = attempt('172.31.1.5', swarm.token, rootAuthority(cluster.lab.host('node1').paths.data));

  await context.test('a dockerd with the token of another swarm does not join', async () => {
    const { stderr, exitCode } = await joining.finished;
    assert.equal(exitCode, 1);
    assert.match(stderr, /remote CA does not match fingerprint\. Expected: [0-9a-f]{64}/);
  });

  await context.test("a worker that calls a manager's methods is refused with the words of dockerd", () => {
    const theirs = attempt('172.31.1.7', otherToken);
    for (const method of ['unlockKey', 'health', 'anonymous', 'session', 'token'] as const)
      assert.deepEqual(ours[method], theirs[method], method);
    assert.equal(
      ours.unlockKey.details,
      'Permission denied: unauthorized peer role: rpc error: code = PermissionDenied desc = ' +
        'Permission denied: remote certificate not part of OUs: [swarm-manager]',
    );
    for (const method of ['oversized', 'unknown'] as const)
      assert.equal(ours[method].code, theirs[method].code, method);
    assert.equal(ours.oversized.code, code.resourceExhausted);
    assert.equal(ours.unknown.code, code.unimplemented);
    assert.notEqual(ours.malformed.code, 0);
    assert.equal(ours.foreign, theirs.foreign);
  });

  await context.test(
    "a certificate of the swarm's own root that has expired ends the connection, a fresh one does not",
    () => {
      assert.equal(ours.valid, 'still open');
      assert.equal(ours.expired, 'refused');
    },
  );

  await context.test('garbage, plain text, other keys and oversized frames end the connection', () => {
    assert.equal(ours.foreign, 'refused');
    for (const outcome of [ours.plain, ours.garbage, ...Object.values(ours.streams)])
      assert.ok(['closed', 'ECONNRESET', 'EPIPE'].includes(outcome), JSON.stringify(ours));
  });

  await context.test('each is in the log with its address, gossip once for all repetitions', () => {
    const entries = log();
    const of = (message: string, where: 'peer' | 'from') =>
      entries.filter((entry) => entry.msg === message && entry[where]?.startsWith(stranger));
    const certificates = of('client certificate refused', 'peer');
    assert.equal(certificates.length, 2, JSON.stringify(certificates));
    assert.ok(
      certificates.some(({ reason }) => reason === 'CERT_HAS_EXPIRED'),
      JSON.stringify(certificates),
    );
    assert.ok(of('connection refused', 'peer').length >= 2, JSON.stringify(of('connection refused', 'peer')));
    const refused = of('call refused', 'peer').map(({ method }) => method?.split('/').at(-1));
    for (const method of ['GetUnlockKey', 'Check', 'Heartbeat', 'IssueNodeCertificate'])
      assert.ok(refused.includes(method), `${method} is not among ${refused.join(', ')}`);
    const causes = of('input refused', 'from').map(({ cause }) => cause);
    assert.deepEqual([...new Set(causes)].sort(), causes.sort(), 'once for each cause');
    for (const cause of ['undecryptable', 'unencrypted', 'too-large', 'truncated'])
      assert.ok(causes.includes(cause), `${cause} is not among ${causes.join(', ')}`);
  });

  await context.test('recorded gossip that is sent again changes nothing', async () => {
    swarm.must('node1', 'service scale --detach web=1');
    await swarm.converged('web', 1);
    const members = swarm.members('web');
    assert.ok(packets.length > 0);
    // What announced the task that is gone comes again.
    const program =
      "const {createSocket}=require('node:dgram');const s=createSocket('udp4');" +
      "let left=0;for(const [to,hex] of JSON.parse(require('node:fs').readFileSync(0,'utf8'))){left++;" +
      "s.send(Buffer.from(hex,'hex'),7946,to,()=>{if(--left===0)s.close()})}";
    cluster.must('outside', [process.execPath, '-e', program], {
      input: JSON.stringify(packets.map(({ to, bytes }) => [to, Buffer.from(bytes).toString('hex')])),
    });
    await sleep(1_000);
    assert.deepEqual(swarm.members('web'), members);
    await swarm.rowsAreExact('net');
    await swarm.everyoneTalks('web', 'net');
  });

  await context.test('nobody was disturbed', async () => {
    assert.equal(before.length, 2);
    const shown = swarm.must('node1', ['node', 'ls', '--format', '{{.Hostname}} {{.Status}}']);
    assert.match(shown, /node1 Ready\nnode2 Ready\n/);
    assert.deepEqual(swarm.gossipComplaints('node2'), []);
  });
});
