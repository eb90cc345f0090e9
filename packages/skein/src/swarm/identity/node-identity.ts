import { create } from '@bufbuild/protobuf';
import { type Clock, errorText, type Logger, RpcError, SkeinError, type Timer } from '../../common/index.ts';
import type { NodeSpec_Availability } from '../gen/specs_pb.js';
import { type NodeTLSInfo, NodeTLSInfoSchema } from '../gen/types_pb.js';
import {
  type CertificateAuthority,
  type CertificateRole,
  createCertificateRequest,
  issuerInfo,
  type NodeCertificateSubject,
  signNodeCertificate,
} from './certificates.ts';
import { downloadRootCa, type Proof, type RemoteOptions, requestCertificate } from './enrolment.ts';
import { readIdentity, removeIdentity, type StoredIdentity, writeIdentity } from './files.ts';
import { parseJoinToken } from './tokens.ts';
import {
  certificateRole,
  certificateSubject,
  isSignedBy,
  parseBundle,
  verifyNodeCertificate,
  verifyRootCa,
} from './verification.ts';

/** When within the validity a renewal starts, at random (swarmkit ca/certificates.go: calculateRandomExpiry). */
const renewalWindow = { from: 0.5, to: 0.8 } as const;
/** A manager's CA needs a moment to see the role that made us ask (swarmkit ca/renewer.go). */
const forcedRenewalPauseMs = 500;
const renewalBackoffMs = { base: 1_000, cap: 5 * 60_000 } as const;
const longestWaitMs = 24 * 3_600_000;
/** One renewal, with its polling, may take this long before it counts as failed. */
const renewalTimeoutMs = 60_000;
/** FIPS clusters are named so (swarmkit ca/config.go). */
const fipsPrefix = 'FIPS.';

/** What a node shows (certificate, key) and trusts (root), with what the certificate says. PEM. */
export interface Credentials extends StoredIdentity {
  readonly nodeId: string;
  readonly organization: string;
  readonly role: CertificateRole;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
}

export interface IdentityContext {
  /** Where the certificate files lie. */
  readonly directory: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface JoinOptions {
  readonly addresses: readonly string[];
  readonly token: string;
  readonly availability: NodeSpec_Availability;
  readonly signal: AbortSignal;
}

/**
 * A node's identity: it joins, lies on disk, is renewed in time, and tells its users when it changed. The one owner of
 * the certificate files.
 */
export class NodeIdentity implements Disposable {
  readonly #context: IdentityContext;
  readonly #listeners = new Set<(credentials: Credentials) => void>();
  readonly #closing = new AbortController();
  #credentials: Credentials;
  #tlsInfo: { readonly of: Credentials; readonly info: NodeTLSInfo } | undefined;
  #addresses: (() => readonly string[]) | undefined;
  #timer: Timer | undefined;
  #renewing: Promise<void> | undefined;
  #failures = 0;

  private constructor(context: IdentityContext, credentials: Credentials) {
    this.#context = context;
    this.#credentials = credentials;
  }

  /** @returns the identity on disk, undefined when the node is in no swarm. An expired certificate is still loaded. */
  static async load(context: IdentityContext): Promise<NodeIdentity | undefined> {
    const stored = await readIdentity(context.directory);
    return stored && new NodeIdentity(context, describe(stored));
  }

  /** Makes the first manager's identity, signed by its own root. */
  static async issue(
    context: IdentityContext,
    authority: CertificateAuthority,
    subject: NodeCertificateSubject,
    expirySeconds: number,
  ): Promise<NodeIdentity> {
    const { csr, key } = await createCertificateRequest();
    const certificate = await signNodeCertificate(authority, csr, subject, expirySeconds, context.clock.now());
    return store(context, { rootCa: authority.certificate, certificate, key });
  }

  /**
   * Joins a cluster: root by the token's digest, then a certificate.
   * @throws SkeinError `invalid join token`, `remote CA does not match fingerprint. …`; RpcError as the manager said.
   */
  static async join(context: IdentityContext, options: JoinOptions): Promise<NodeIdentity> {
    const token = parseJoinToken(options.token);
    const remote = { addresses: options.addresses, clock: context.clock, signal: options.signal };
    const rootCa = await downloadRootCa(remote, token.digest);
    const proof = { token: options.token, availability: options.availability };
    const identity = await enrol(context, remote, rootCa, proof);
    const { organization } = describe(identity);
    if (token.fips || organization.startsWith(fipsPrefix)) {
      throw new SkeinError('FailedPrecondition', 'node is not FIPS-enabled but cluster requires FIPS');
    }
    return store(context, identity);
  }

  get credentials(): Credentials {
    return this.#credentials;
  }

  get nodeId(): string {
    return this.#credentials.nodeId;
  }

  /** Calls `listener` after each change of certificate or root. @returns the function that ends it. */
  onChange(listener: (credentials: Credentials) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** @returns what the node's description says of its trust. It is asked for with each task. */
  tlsInfo(): NodeTLSInfo {
    if (this.#tlsInfo?.of !== this.#credentials) {
      this.#tlsInfo = { of: this.#credentials, info: describeTrust(this.#credentials) };
    }
    return this.#tlsInfo.info;
  }

  /** Starts renewing in time. @param addresses the managers known at that moment. */
  startRenewal(addresses: () => readonly string[]): void {
    this.#addresses = addresses;
    this.#schedule(this.#regularDelay());
  }

  /** Renews soon (role change, ROTATE); failed attempts are repeated with backoff. */
  requestRenewal(): void {
    if (this.#renewing === undefined) this.#schedule(forcedRenewalPauseMs);
  }

  /**
   * Takes a new root that a manager sent. @returns false, and keeps the old one, when the own certificate does not
   * validate under it.
   */
  async adoptRootCa(rootCa: string): Promise<boolean> {
    const current = this.#credentials;
    if (rootCa === current.rootCa) return true;
    try {
      verifyRootCa(rootCa);
      verifyNodeCertificate(current.certificate, rootCa, current.key, this.#context.clock.now());
    } catch (error) {
      this.#context.logger.warn({ error: errorText(error) }, 'root CA from the manager does not fit our certificate');
      return false;
    }
    await this.#replace({ ...current, rootCa });
    return true;
  }

  /** Renews now. @throws as `requestCertificate`. */
  async renew(signal: AbortSignal): Promise<void> {
    const { certificate, key, rootCa } = this.#credentials;
    const remote = { addresses: this.#addresses?.() ?? [], clock: this.#context.clock, signal };
    const proof = { client: { certificate, key } };
    try {
      await this.#replace(await enrol(this.#context, remote, rootCa, proof));
    } catch (error) {
      if (!isUnknownAuthority(error)) throw error;
      this.#context.logger.warn('the managers are under another root CA; downloading it');
      const newRoot = await downloadRootCa(remote, undefined);
      await this.#replace(await enrol(this.#context, remote, newRoot, proof));
    }
  }

  /** Ends renewal and forgets the identity on disk (`swarm leave`). */
  async remove(): Promise<void> {
    this[Symbol.dispose]();
    await this.#renewing;
    await removeIdentity(this.#context.directory);
  }

  [Symbol.dispose](): void {
    this.#closing.abort(new SkeinError('Canceled', 'identity closed'));
    this.#context.clock.clearTimeout(this.#timer);
    this.#listeners.clear();
  }

  #regularDelay(): number {
    const { notBefore, notAfter } = this.#credentials;
    return renewalDelay(notBefore, notAfter, this.#context.clock.now(), Math.random());
  }

  /** The clock's timers are shorter than half a certificate's life, so the wait goes in pieces. */
  #schedule(milliseconds: number): void {
    const { clock } = this.#context;
    clock.clearTimeout(this.#timer);
    if (this.#closing.signal.aborted) return;
    const rest = milliseconds - longestWaitMs;
    if (rest > 0) {
      this.#timer = clock.setTimeout(() => this.#schedule(rest), longestWaitMs);
      return;
    }
    this.#timer = clock.setTimeout(() => {
      this.#renewing ??= this.#renewScheduled().finally(() => {
        this.#renewing = undefined;
      });
    }, milliseconds);
  }

  async #renewScheduled(): Promise<void> {
    const { clock, logger } = this.#context;
    const timeout = new AbortController();
    const timer = clock.setTimeout(
      () => timeout.abort(new SkeinError('DeadlineExceeded', 'renewal timed out')),
      renewalTimeoutMs,
    );
    try {
      await this.renew(AbortSignal.any([timeout.signal, this.#closing.signal]));
      this.#failures = 0;
      logger.info({ notAfter: new Date(this.#credentials.notAfter) }, 'node certificate renewed');
      this.#schedule(this.#regularDelay());
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      logger.error({ error: errorText(error) }, 'node certificate renewal failed');
      this.#schedule(Math.min(renewalBackoffMs.base * 2 ** this.#failures++, renewalBackoffMs.cap));
    } finally {
      clock.clearTimeout(timer);
    }
  }

  async #replace(stored: StoredIdentity): Promise<void> {
    const next = describe(stored);
    await writeIdentity(this.#context.directory, next);
    this.#credentials = next;
    for (const listener of this.#listeners) listener(next);
  }
}

/**
 * @param random in [0, 1).
 * @returns milliseconds until a renewal: to a point 50 to 80 % into the validity, 0 when it is past.
 */
export function renewalDelay(notBefore: number, notAfter: number, now: number, random: number): number {
  const fraction = renewalWindow.from + random * (renewalWindow.to - renewalWindow.from);
  return Math.max(0, notBefore + fraction * (notAfter - notBefore) - now);
}

async function enrol(
  context: IdentityContext,
  remote: RemoteOptions,
  rootCa: string,
  proof: Proof,
): Promise<StoredIdentity> {
  const { csr, key } = await createCertificateRequest();
  const { nodeId, certificate } = await requestCertificate(remote, { rootCa, csr, proof });
  const leaf = verifyNodeCertificate(certificate, rootCa, key, context.clock.now());
  if (certificateSubject(leaf).nodeId !== nodeId) {
    throw new SkeinError('InvalidArgument', `the manager issued a certificate for another node than ${nodeId}`);
  }
  return { rootCa, certificate, key };
}

async function store(context: IdentityContext, stored: StoredIdentity): Promise<NodeIdentity> {
  await writeIdentity(context.directory, stored);
  const identity = await NodeIdentity.load(context);
  if (identity === undefined) throw new SkeinError('Internal', `no identity in ${context.directory} after writing it`);
  return identity;
}

function describe({ rootCa, certificate, key }: StoredIdentity): Credentials {
  const [leaf] = parseBundle(certificate);
  if (leaf === undefined) throw new SkeinError('InvalidArgument', 'the certificate file is empty');
  const subject = certificateSubject(leaf);
  return {
    rootCa,
    certificate,
    key,
    nodeId: subject.nodeId,
    organization: subject.organization,
    role: certificateRole(subject),
    notBefore: leaf.validFromDate.getTime(),
    notAfter: leaf.validToDate.getTime(),
  };
}

/** OpenSSL's and Go's words for a server whose root we do not have. */
function isUnknownAuthority(error: unknown): boolean {
  const known = /SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_|self-signed certificate|unable to (verify|get)|unknown authority/;
  return error instanceof RpcError && known.test(error.message);
}

/** What a node says of its root and of who signed its certificate. */
function describeTrust({ rootCa, certificate }: Credentials): NodeTLSInfo {
  const [leaf, ...rest] = parseBundle(certificate);
  const roots = parseBundle(rootCa);
  // While a root is rotated its successor, which signed the leaf, comes with the leaf and has the same name.
  const signer = [...rest, ...roots].find((candidate) => leaf && isSignedBy(leaf, candidate)) ?? roots[0];
  const issuer = issuerInfo(signer?.toString() ?? rootCa);
  return create(NodeTLSInfoSchema, {
    trustRoot: Buffer.from(rootCa, 'latin1'),
    certIssuerSubject: issuer.subject,
    certIssuerPublicKey: issuer.publicKey,
  });
}
