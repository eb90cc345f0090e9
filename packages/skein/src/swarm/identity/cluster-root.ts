import { create } from '@bufbuild/protobuf';
import { type RootCA, RootCASchema } from '../gen/types_pb.js';
import type { CertificateAuthority } from './certificates.ts';
import { generateJoinToken, rootDigest } from './tokens.ts';

/** @returns the Cluster object's `root_ca` for a new root: key, certificate, its digest and fresh join tokens. */
export function clusterRootCa(authority: CertificateAuthority): RootCA {
  return create(RootCASchema, {
    caKey: Buffer.from(authority.key, 'latin1'),
    caCert: Buffer.from(authority.certificate, 'latin1'),
    caCertHash: `sha256:${rootDigest(authority.certificate)}`,
    joinTokens: {
      worker: generateJoinToken(authority.certificate),
      manager: generateJoinToken(authority.certificate),
    },
  });
}
