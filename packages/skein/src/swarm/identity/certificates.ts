import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

x509.cryptoProvider.set(webcrypto);

/** The role as a certificate's OU says it. */
export type CertificateRole = 'swarm-worker' | 'swarm-manager';
/** OU of workers, OU of managers, and the name that calls of the CA services verify (swarmkit ca/certificates.go). */
export const workerRole = 'swarm-worker';
export const managerRole = 'swarm-manager';
export const caServerName = 'swarm-ca';

/** Validity of a node's certificate unless the cluster says otherwise, and the least it may say. */
export const defaultNodeCertificateSeconds = 2160 * 3600;
export const minNodeCertificateSeconds = 3600;

const rootSeconds = 630_720_000;
const rootBackdateMs = 5 * 60_000;
const nodeBackdateMs = 3_600_000;
const serialBytes = 20;
const keyAlgorithm = { name: 'ECDSA', namedCurve: 'P-256' } as const;
const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256' } as const;
const { serverAuth, clientAuth } = x509.ExtendedKeyUsage;

/** A key pair in PEM: PKCS#8 key and what was made for it. */
export interface CertificateRequest {
  /** Label CERTIFICATE REQUEST; empty subject, as dockerd's. */
  readonly csr: string;
  readonly key: string;
}

export interface CertificateAuthority {
  /** The self-signed root, PEM. */
  readonly certificate: string;
  /** PKCS#8 PEM. */
  readonly key: string;
}

export interface NodeCertificateSubject {
  readonly organization: string;
  readonly role: CertificateRole;
  readonly nodeId: string;
}

/** @returns a new root: CN=swarm-ca, P-256, 20 years from five minutes ago. `now` in milliseconds since the epoch. */
export async function createRootCa(now: number): Promise<CertificateAuthority> {
  const keys = await generateKeys();
  const notBefore = Math.floor(now / 60_000) * 60_000 - rootBackdateMs;
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    keys,
    name: [{ CN: [caServerName] }],
    serialNumber: newSerial(),
    notBefore: new Date(notBefore),
    notAfter: new Date(notBefore + rootSeconds * 1000),
    signingAlgorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: pem(certificate), key: await exportKey(keys.privateKey) };
}

/** @returns a new P-256 key and a request for it. */
export async function createCertificateRequest(): Promise<CertificateRequest> {
  const keys = await generateKeys();
  const request = await x509.Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm });
  return { csr: `${request.toString('pem')}\n`, key: await exportKey(keys.privateKey) };
}

/**
 * Signs a node's certificate. Of the request only the public key counts.
 * @param expirySeconds validity from now on; at least `minNodeCertificateSeconds`.
 * @throws Error when the request is malformed or not signed by its own key.
 */
export async function signNodeCertificate(
  authority: CertificateAuthority,
  csr: string | Uint8Array,
  subject: NodeCertificateSubject,
  expirySeconds: number,
  now: number,
): Promise<string> {
  const request = new x509.Pkcs10CertificateRequest(Buffer.from(csr).toString('latin1'));
  if (!(await request.verify())) throw new Error('the certificate request is not signed by its own key');
  const issuer = new x509.X509Certificate(authority.certificate);
  const names = [subject.role, subject.nodeId, ...(subject.role === managerRole ? [caServerName] : [])];
  const notBefore = now - nodeBackdateMs;
  const certificate = await x509.X509CertificateGenerator.create({
    subject: [{ O: [subject.organization] }, { OU: [subject.role] }, { CN: [subject.nodeId] }],
    issuer: issuer.subjectName,
    publicKey: request.publicKey,
    signingKey: await importKey(authority.key),
    signingAlgorithm,
    serialNumber: newSerial(),
    notBefore: new Date(notBefore),
    notAfter: new Date(notBefore + Math.max(expirySeconds, minNodeCertificateSeconds) * 1000 + nodeBackdateMs),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyEncipherment, true),
      new x509.ExtendedKeyUsageExtension([serverAuth, clientAuth]),
      new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: 'dns', value }))),
      await x509.SubjectKeyIdentifierExtension.create(request.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  });
  return pem(certificate);
}

/** @returns DER of the certificate's subject name and of its public key, for NodeTLSInfo. */
export function issuerInfo(certificatePem: string): { subject: Uint8Array; publicKey: Uint8Array } {
  const certificate = new x509.X509Certificate(certificatePem);
  return {
    subject: new Uint8Array(certificate.subjectName.toArrayBuffer()),
    publicKey: new Uint8Array(certificate.publicKey.rawData),
  };
}

function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(keyAlgorithm, true, ['sign', 'verify']);
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  const der = await webcrypto.subtle.exportKey('pkcs8', key);
  return `${x509.PemConverter.encode(der, 'PRIVATE KEY')}\n`;
}

function importKey(keyPem: string): Promise<webcrypto.CryptoKey> {
  const der = x509.PemConverter.decodeFirst(keyPem);
  return webcrypto.subtle.importKey('pkcs8', der, keyAlgorithm, false, ['sign']);
}

/** PEM files end with a newline; the root's digest counts it. */
function pem(certificate: x509.X509Certificate): string {
  return `${certificate.toString('pem')}\n`;
}

/** A positive serial of exactly 20 bytes: top bit clear, first byte not zero (RFC 5280 4.1.2.2). */
function newSerial(): string {
  const bytes = randomBytes(serialBytes);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString('hex');
}
