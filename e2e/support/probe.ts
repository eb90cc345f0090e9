/**
 * A worker of the tests' own, which joins a swarm and writes down what the manager sends, byte for byte.
 * Run inside a lab host's namespaces: `node --conditions=source probe.ts <manager> <token> <directory> <active|drain> <ms>`.
 * Prints one JSON object: `nodeId` and `messages`, each with its method and its bytes in base64.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import * as grpc from '@grpc/grpc-js';
import { silentLogger, systemClock } from '../../packages/skein/src/common/index.ts';
import {
  AssignmentsRequestSchema,
  HeartbeatRequestSchema,
  SessionMessageSchema,
  SessionRequestSchema,
} from '../../packages/skein/src/swarm/gen/dispatcher_pb.js';
import { NodeSpec_Availability } from '../../packages/skein/src/swarm/gen/specs_pb.js';
import { NodeIdentity } from '../../packages/skein/src/swarm/identity/index.ts';

const [address = '', token = '', directory = '', wanted = 'drain', duration = '1000'] = process.argv.slice(2);
const messages: { method: string; bytes: string }[] = [];
const dispatcher = '/docker.swarmkit.v1.Dispatcher/';
const raw = (bytes: Buffer): Buffer => bytes;

using identity = await NodeIdentity.join(
  { directory, clock: systemClock, logger: silentLogger() },
  {
    addresses: [address],
    token,
    availability: wanted === 'active' ? NodeSpec_Availability.ACTIVE : NodeSpec_Availability.DRAIN,
    signal: AbortSignal.timeout(20_000),
  },
);
const { rootCa, key, certificate } = identity.credentials;
const client = new grpc.Client(
  address,
  grpc.credentials.createSsl(Buffer.from(rootCa), Buffer.from(key), Buffer.from(certificate)),
  { 'grpc.ssl_target_name_override': 'swarm-manager' },
);

function listen(method: string, request: Uint8Array, onMessage: (bytes: Buffer) => void = () => {}): void {
  const call = client.makeServerStreamRequest(dispatcher + method, raw, raw, Buffer.from(request));
  call.on('data', (bytes: Buffer) => {
    messages.push({ method, bytes: bytes.toString('base64') });
    onMessage(bytes);
  });
  call.on('error', (error) => {
    if (!ending) process.stderr.write(`${method}: ${error.message}\n`);
  });
}

let ending = false;
let registered = false;
const description = {
  hostname: 'probe',
  platform: { architecture: 'x86_64', os: 'linux' },
  resources: { nanoCpus: 1_000_000_000n, memoryBytes: 1n << 30n },
  engine: { engineVersion: 'probe', plugins: [{ type: 'Network', name: 'overlay' }] },
};
listen('Session', toBinary(SessionRequestSchema, create(SessionRequestSchema, { description })), (bytes) => {
  if (registered) return;
  registered = true;
  const { sessionId } = fromBinary(SessionMessageSchema, bytes);
  const heartbeat = toBinary(HeartbeatRequestSchema, create(HeartbeatRequestSchema, { sessionId }));
  client.makeUnaryRequest(`${dispatcher}Heartbeat`, raw, raw, Buffer.from(heartbeat), () => {});
  listen('Assignments', toBinary(AssignmentsRequestSchema, create(AssignmentsRequestSchema, { sessionId })));
});
setTimeout(() => {
  ending = true;
  client.close();
  process.stdout.write(JSON.stringify({ nodeId: identity.nodeId, messages }), () => process.exit(0));
}, Number(duration));
