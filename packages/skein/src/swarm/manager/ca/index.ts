/** ca: gives nodes their certificates. Writes node objects in the store; keeps no state of its own. */
export { CertificateService } from './service.ts';
export { CertificateSigner, type SignerOptions } from './signer.ts';
