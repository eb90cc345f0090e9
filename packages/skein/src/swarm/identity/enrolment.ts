import { type Client, createClient } from '@connectrpc/connect';
import { type Clock, delay, RpcError, SkeinError } from '../../common/index.ts';
import { CA, NodeCA } from '../gen/ca_pb.js';
import type { NodeSpec_Availability } from '../gen/specs_pb.js';
import { IssuanceStatus_State } from '../gen/types_pb.js';
import { caServerName, managerRole } from './certificates.ts';
import { rootDigest } from './tokens.ts';
import { connectManager, type ManagerConnection } from './transport.ts';
import { verifyRootCa } from './verification.ts';

/** How often and how long the client tries (swarmkit ca/certificates.go: GetRemoteCA, GetRemoteSignedCertificate). */
const attempts = 5;
const pauseMs = 2_000;
const callTimeoutMs = 5_000;
const pollBackoffMs = { base: 1_000, cap: 30_000 } as const;

export interface RemoteOptions {
  /** Managers as `host:port`; tried in turn. */
  readonly addresses: readonly string[];
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/**
 * Fetches the cluster's root certificates from a manager that is not yet trusted: CA.GetRootCACertificate.
 * @param digest SHA-256 of the expected PEM in hex, from the join token; undefined accepts any root.
 * @returns the PEM bundle, exactly as sent.
 * @throws SkeinError `remote CA does not match fingerprint. Expected: …`; RpcError of the last of five attempts.
 */
export async function downloadRootCa(options: RemoteOptions, digest: string | undefined): Promise<string> {
  const pem = await retry(options, async (address) => {
    using connection = connectManager(address, { rootCa: undefined, serverName: caServerName });
    const { signal } = options;
    const call = createClient(CA, connection.transport).getRootCACertificate({}, { signal, timeoutMs: callTimeoutMs });
    const response = await call.catch((error: unknown) => Promise.reject(connection.error(error)));
    return Buffer.from(response.certificate);
  });
  if (digest !== undefined && rootDigest(pem) !== digest) {
    throw new SkeinError('InvalidArgument', `remote CA does not match fingerprint. Expected: ${digest}`);
  }
  const text = pem.toString('latin1');
  verifyRootCa(text);
  return text;
}

/** Either a token (joining) or the present certificate (renewal). */
export type Proof =
  | { readonly token: string; readonly availability: NodeSpec_Availability }
  | { readonly client: { readonly certificate: string; readonly key: string } };

/**
 * Has a certificate signed: NodeCA.IssueNodeCertificate, then NodeCertificateStatus until it is issued.
 * @param rootCa what the manager must be trusted by.
 * @returns the node's ID and its PEM chain, not yet verified.
 * @throws RpcError as the manager answered; the signal's reason when it aborts.
 */
export async function requestCertificate(
  options: RemoteOptions,
  request: { readonly rootCa: string; readonly csr: string; readonly proof: Proof },
): Promise<{ nodeId: string; certificate: string }> {
  const csr = Buffer.from(request.csr, 'latin1');
  const security =
    'client' in request.proof
      ? { rootCa: request.rootCa, serverName: managerRole, client: request.proof.client }
      : { rootCa: request.rootCa, serverName: caServerName };
  const issue = 'token' in request.proof ? { csr, ...request.proof } : { csr };
  const { connection, nodeId } = await retry(options, async (address) => {
    const connection = connectManager(address, security);
    try {
      const client = createClient(NodeCA, connection.transport);
      const response = await client.issueNodeCertificate(issue, { signal: options.signal, timeoutMs: callTimeoutMs });
      return { connection, nodeId: response.nodeId };
    } catch (error) {
      const failure = connection.error(error);
      connection[Symbol.dispose]();
      throw failure;
    }
  });
  using _ = connection;
  return { nodeId, certificate: await awaitIssuance(options, connection, nodeId, csr) };
}

/** Polls until the manager says ISSUED (or ROTATE) for exactly this request (protocols.md 1.3). */
async function awaitIssuance(
  options: RemoteOptions,
  connection: ManagerConnection,
  nodeId: string,
  csr: Buffer,
): Promise<string> {
  const client = createClient(NodeCA, connection.transport);
  for (let backoffMs: number = pollBackoffMs.base; ; backoffMs = Math.min(2 * backoffMs, pollBackoffMs.cap)) {
    const certificate = await pollStatus(client, connection, nodeId, csr, options.signal);
    if (certificate !== undefined) return certificate;
    await delay(options.clock, backoffMs, options.signal);
  }
}

/** @returns the certificate when it is there, undefined when it is worth asking again. */
async function pollStatus(
  client: Client<typeof NodeCA>,
  connection: ManagerConnection,
  nodeId: string,
  csr: Buffer,
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    const response = await client.nodeCertificateStatus({ nodeId }, { signal, timeoutMs: callTimeoutMs });
    const state = response.status?.state;
    const issued = state === IssuanceStatus_State.ISSUED || state === IssuanceStatus_State.ROTATE;
    const certificate = response.certificate;
    if (!issued || certificate === undefined || !csr.equals(certificate.csr)) return undefined;
    return Buffer.from(certificate.certificate).toString('latin1');
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    const failure = connection.error(error);
    if (failure.code === 'NotFound' || failure.code === 'PermissionDenied') throw failure;
    return undefined;
  }
}

/** Runs `call` against the addresses in turn, five times at most, two seconds apart, while the failure is the network's. */
async function retry<T>(options: RemoteOptions, call: (address: string) => Promise<T>): Promise<T> {
  const { addresses, clock, signal } = options;
  for (let attempt = 0; ; attempt++) {
    const address = addresses[attempt % addresses.length];
    if (address === undefined) throw new SkeinError('InvalidArgument', 'at least 1 RemoteAddr is required to join');
    try {
      return await call(address);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (attempt + 1 >= attempts || !isWorthRetrying(error)) throw error;
    }
    await delay(clock, pauseMs, signal);
  }
}

function isWorthRetrying(error: unknown): boolean {
  return error instanceof RpcError && ['Unavailable', 'DeadlineExceeded', 'Aborted', 'Canceled'].includes(error.code);
}
