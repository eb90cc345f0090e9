import { createPrivateKey, createPublicKey, type KeyObject, X509Certificate } from 'node:crypto';
import { SkeinError } from '../../common/index.ts';
import { type CertificateRole, managerRole, workerRole } from './certificates.ts';

/** More certificates than this in one bundle are no bundle. */
const maxBundleCertificates = 32;

/** Who a node's certificate says it is. */
export interface CertificateSubject {
  readonly organization: string;
  readonly units: readonly string[];
  readonly nodeId: string;
}

/** @returns the certificates of a PEM bundle, in order. @throws SkeinError InvalidArgument when there is none. */
export function parseBundle(bundlePem: string): X509Certificate[] {
  const blocks = bundlePem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0 || blocks.length > maxBundleCertificates) {
    throw new SkeinError('InvalidArgument', `a PEM bundle of ${blocks.length} certificates is not valid`);
  }
  return blocks.map((block) => new X509Certificate(block));
}

/** @returns O, OU and CN of a certificate's subject, '' where one is missing. */
export function certificateSubject(certificate: X509Certificate): CertificateSubject {
  const parts = certificate.subject.split('\n').map((line): [string, string] => {
    const at = line.indexOf('=');
    return [line.slice(0, at), line.slice(at + 1)];
  });
  const values = (name: string) => parts.filter(([key]) => key === name).map(([, value]) => value);
  return { organization: values('O')[0] ?? '', units: values('OU'), nodeId: values('CN')[0] ?? '' };
}

/** @returns the role that the certificate's OU gives. @throws SkeinError for a certificate that no swarm made. */
export function certificateRole(subject: CertificateSubject): CertificateRole {
  if (subject.units.includes(managerRole)) return managerRole;
  if (subject.units.includes(workerRole)) return workerRole;
  throw new SkeinError('InvalidArgument', `certificate of ${subject.nodeId} carries no swarm role`);
}

/**
 * Checks a node certificate as a joining node must: from the leaf up to a root of the bundle, each signed by the next,
 * all valid at `now`, and made for `key`.
 * @returns the leaf. @throws SkeinError that says what is wrong.
 */
export function verifyNodeCertificate(
  chainPem: string,
  rootCaPem: string,
  key: string | undefined,
  now: number,
): X509Certificate {
  const chain = parseBundle(chainPem);
  const leaf = verifyChain(chain, parseBundle(rootCaPem), now);
  if (key !== undefined && !samePublicKey(leaf, createPublicKey(createPrivateKey(key)))) {
    throw new SkeinError('InvalidArgument', 'certificate key mismatch');
  }
  return leaf;
}

/**
 * Checks what a server presented: its chain, and that its certificate is for `serverName`. OpenSSL cannot: while a root
 * is being rotated the chain has the new root signed by the old one, and as both have one name it takes that for
 * self-signed.
 * @throws SkeinError that says what is wrong.
 */
export function verifyServer(
  chain: readonly X509Certificate[],
  rootCaPem: string,
  serverName: string,
  now: number,
): void {
  const leaf = verifyChain(chain, parseBundle(rootCaPem), now);
  if (leaf.checkHost(serverName) === undefined) {
    throw new SkeinError(
      'PermissionDenied',
      `x509: certificate is valid for ${leaf.subjectAltName?.replaceAll('DNS:', '') ?? 'no name'}, not ${serverName}`,
    );
  }
}

function verifyChain(
  [leaf, ...rest]: readonly X509Certificate[],
  roots: readonly X509Certificate[],
  now: number,
): X509Certificate {
  if (leaf === undefined) throw new SkeinError('InvalidArgument', 'no certificates to validate');
  checkValidity(leaf, now);
  let current = leaf;
  for (const issuer of [...rest, undefined]) {
    if (roots.some((root) => isSignedBy(current, root))) break;
    if (issuer === undefined) {
      throw new SkeinError('PermissionDenied', 'x509: certificate signed by unknown authority');
    }
    checkValidity(issuer, now);
    if (!issuer.ca || !isSignedBy(current, issuer)) {
      throw new SkeinError('InvalidArgument', 'certificates do not form a chain');
    }
    current = issuer;
  }
  return leaf;
}

/** Checks that each certificate of the bundle is a self-signed CA, as a root must be. @throws SkeinError. */
export function verifyRootCa(rootCaPem: string): void {
  for (const root of parseBundle(rootCaPem)) {
    if (!root.ca || !isSignedBy(root, root)) {
      throw new SkeinError('InvalidArgument', 'root CA certificate is not a self-signed CA');
    }
  }
}

/** @returns whether `issuer`'s key signed the certificate; its name alone says little, as all roots have the same. */
export function isSignedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

function samePublicKey(certificate: X509Certificate, key: KeyObject): boolean {
  return certificate.publicKey.equals(key);
}

function checkValidity(certificate: X509Certificate, now: number): void {
  if (now < certificate.validFromDate.getTime() || now >= certificate.validToDate.getTime()) {
    throw new SkeinError(
      'InvalidArgument',
      `x509: certificate has expired or is not yet valid: current time ${new Date(now).toISOString()} is not between ` +
        `${certificate.validFromDate.toISOString()} and ${certificate.validToDate.toISOString()}`,
    );
  }
}
