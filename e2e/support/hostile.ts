/**
 * What a stranger, and a worker that oversteps, may try against a manager and its gossip.
 * Run inside a lab host's namespaces: `node --conditions=source hostile.ts <address> <token> <directory> [authority]`,
 * the last a file with the swarm's own root as JSON, to sign what has expired.
 * Prints one JSON object: each attempt and how it ended.
 */
import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { create, toBinary } from '@bufbuild/protobuf';
import * as grpc from '@grpc/grpc-js';
import { systemRandom } from '../../packages/gossip/src/runtime/index.ts';
import { encodeFrame, encodePacket, Keyring, toPart } from '../../packages/gossip/src/wire/index.ts';
import { silentLogger, systemClock } from '../../packages/skein/src/common/index.ts';
import { IssueNodeCertificateRequestSchema } from '../../packages/skein/src/swarm/gen/ca_pb.js';
import { HeartbeatRequestSchema } from '../../packages/skein/src/swarm/gen/dispatcher_pb.js';
import { NodeSpec_Availability } from '../../packages/skein/src/swarm/gen/specs_pb.js';
import {
  type CertificateAuthority,
  createCertificateRequest,
  createRootCa,
  managerRole,
  NodeIdentity,
  signNodeCertificate,
} from '../../packages/skein/src/swarm/identity/index.ts';

const [host = '', token = '', directory = '', authorityFile] = process.argv.slice(2);
const managerPort = 2377;
const gossipPort = 7946;
const repeats = 5;
const waitMs = 3_000;
const weekSeconds = 7 * 86_400;
const outcomes: Record<string, unknown> = {};

using identity = await NodeIdentity.join(
  { directory, clock: systemClock, logger: silentLogger() },
  {
    addresses: [`${host}:${managerPort}`],
    token,
    availability: NodeSpec_Availability.DRAIN,
    signal: AbortSignal.timeout(20_000),
  },
);
const { rootCa, key, certificate, nodeId } = identity.credentials;

/** @returns code and words of a call's failure. grpc-js does not undo all of gRPC's percent-encoding, as Go does. */
async function call(method: string, request: Uint8Array, withCertificate = true): Promise<object> {
  const credentials = withCertificate
    ? grpc.credentials.createSsl(Buffer.from(rootCa), Buffer.from(key), Buffer.from(certificate))
    : grpc.credentials.createSsl(Buffer.from(rootCa));
  const client = new grpc.Client(`${host}:${managerPort}`, credentials, {
    'grpc.ssl_target_name_override': 'swarm-manager',
    'grpc.max_send_message_length': -1,
  });
  const raw = (bytes: Buffer): Buffer => bytes;
  try {
    return await new Promise((resolve) => {
      client.makeUnaryRequest(`/docker.swarmkit.v1.${method}`, raw, raw, Buffer.from(request), (error) =>
        resolve({ code: error?.code ?? 0, details: decodeURIComponent(error?.details ?? '') }),
      );
    });
  } finally {
    client.close();
  }
}

/** Says something on a TCP port. @returns how the other side took it. */
function say(port: number, bytes: Uint8Array): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, host, () => socket.write(bytes));
    const timer = setTimeout(() => done('still open'), waitMs);
    const done = (outcome: string): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(outcome);
    };
    socket.on('error', (error: NodeJS.ErrnoException) => done(error.code ?? error.message));
    socket.on('close', () => done('closed'));
    socket.resume();
  });
}

/** Shows a manager's certificate for our own node, signed by `authority` for a week from then on. @returns what came of it. */
async function showCertificate(authority: CertificateAuthority, signedAt: number): Promise<string> {
  const request = await createCertificateRequest();
  const subject = { organization: identity.credentials.organization, role: managerRole, nodeId } as const;
  const shown = await signNodeCertificate(authority, request.csr, subject, weekSeconds, signedAt);
  return new Promise((resolve) => {
    const socket = connectTls({
      host,
      port: managerPort,
      ALPNProtocols: ['h2'],
      servername: 'swarm-manager',
      cert: shown,
      key: request.key,
      ca: rootCa,
    });
    const timer = setTimeout(() => resolve('still open'), waitMs);
    const done = (outcome: string): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(outcome);
    };
    socket.on('error', () => done('refused'));
    socket.on('close', () => done('refused'));
    socket.resume();
  });
}

const empty = new Uint8Array(0);
outcomes.unlockKey = await call('CA/GetUnlockKey', empty);
outcomes.health = await call('Health/Check', empty);
outcomes.anonymous = await call('Dispatcher/Heartbeat', empty, false);
outcomes.session = await call(
  'Dispatcher/Heartbeat',
  toBinary(HeartbeatRequestSchema, create(HeartbeatRequestSchema, { sessionId: 'nonsense' })),
);
outcomes.token = await call(
  'NodeCA/IssueNodeCertificate',
  toBinary(
    IssueNodeCertificateRequestSchema,
    create(IssueNodeCertificateRequestSchema, { csr: Buffer.from('x'), token: 'x' }),
  ),
  false,
);
outcomes.oversized = await call('NodeCA/IssueNodeCertificate', Buffer.alloc(5 * 1024 * 1024), false);
outcomes.malformed = await call('Dispatcher/Heartbeat', Buffer.from('ffffffff', 'hex'));
outcomes.unknown = await call('Nothing/Nowhere', empty);
outcomes.foreign = await showCertificate(await createRootCa(Date.now()), Date.now());
if (authorityFile) {
  const authority = JSON.parse(readFileSync(authorityFile, 'utf8')) as CertificateAuthority;
  outcomes.valid = await showCertificate(authority, Date.now());
  outcomes.expired = await showCertificate(authority, Date.now() - 2 * weekSeconds * 1_000);
}
outcomes.plain = await say(managerPort, Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'));
outcomes.garbage = await say(managerPort, Buffer.alloc(1_000, 0xa5));

const foreignKeys = new Keyring([new Uint8Array(16).fill(9)]);
const message = toPart({ type: 'user', body: Buffer.from('hello') });
const udp = createSocket('udp4');
const send = (bytes: Uint8Array): Promise<void> =>
  new Promise((resolve, reject) => udp.send(bytes, gossipPort, host, (error) => (error ? reject(error) : resolve())));
const packets = [
  Buffer.alloc(60, 0xa5),
  empty,
  Buffer.of(1),
  Buffer.alloc(60_000, 1),
  encodePacket([message], new Keyring(), systemRandom),
  encodePacket([message], foreignKeys, systemRandom),
];
for (let round = 0; round < repeats; round++) for (const packet of packets) await send(packet);
udp.close();
const streams: Record<string, Uint8Array> = {
  garbage: Buffer.alloc(1_000, 0xa5),
  plain: encodeFrame({ type: 'user', body: Buffer.from('hello') }, new Keyring(), systemRandom),
  oldKey: encodeFrame({ type: 'user', body: Buffer.from('hello') }, foreignKeys, systemRandom),
  oversized: Buffer.concat([Buffer.of(10, 0xff, 0xff, 0xff, 0xff), Buffer.alloc(1_000)]),
};
outcomes.streams = Object.fromEntries(
  await Promise.all(
    Object.entries(streams).map(async ([name, bytes]) => {
      for (let round = 1; round < repeats; round++) await say(gossipPort, bytes);
      return [name, await say(gossipPort, bytes)];
    }),
  ),
);
await sleep(200);
process.stdout.write(JSON.stringify({ nodeId, outcomes }), () => process.exit(0));
