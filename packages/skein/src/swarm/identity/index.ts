/**
 * identity: who a node is. Join tokens, the root CA, node certificates, their files and their renewal, and the TLS
 * client side of every call to a manager. Knows the CA service's wire, nothing of stores, tasks or the kernel.
 */
export {
  type CertificateAuthority,
  type CertificateRequest,
  type CertificateRole,
  caServerName,
  createCertificateRequest,
  createRootCa,
  defaultNodeCertificateSeconds,
  issuerInfo,
  managerRole,
  minNodeCertificateSeconds,
  type NodeCertificateSubject,
  signNodeCertificate,
  workerRole,
} from './certificates.ts';
export { clusterRootCa } from './cluster-root.ts';
export { downloadRootCa, type Proof, type RemoteOptions, requestCertificate } from './enrolment.ts';
export { readIdentity, removeIdentity, type StoredIdentity, writeAtomically, writeIdentity } from './files.ts';
export {
  type Credentials,
  type IdentityContext,
  type JoinOptions,
  NodeIdentity,
  renewalDelay,
} from './node-identity.ts';
export { formatJoinToken, generateJoinToken, type JoinToken, parseJoinToken, rootDigest, sameToken } from './tokens.ts';
export { codeName, connectCode, connectManager, type ManagerConnection } from './transport.ts';
export {
  type CertificateSubject,
  certificateRole,
  certificateSubject,
  parseBundle,
  verifyNodeCertificate,
  verifyRootCa,
} from './verification.ts';
export type { ConnectionSecurity } from './verified-session.ts';
export { Wakeup } from './wakeup.ts';
