/** Reads a skeind manager's store, or does to a stopped one's what would take it half a day, with the product's own functions. */
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { clone } from '@bufbuild/protobuf';
import { silentLogger } from '../../packages/skein/src/common/index.ts';
import { ClusterSchema, NodeSchema } from '../../packages/skein/src/swarm/gen/objects_pb.js';
import { IssuanceStatus_State, NodeRole } from '../../packages/skein/src/swarm/gen/types_pb.js';
import type { CertificateAuthority } from '../../packages/skein/src/swarm/identity/index.ts';
import { rotateKeys } from '../../packages/skein/src/swarm/manager/keymanager.ts';
import { openStore } from '../../packages/skein/src/swarm/store/index.ts';

/**
 * Rotates the gossip keys once, and marks the workers' certificates as to be replaced.
 * @param dataRoot the data root of the manager, which must not run.
 */
export function rotateKeysAndCertificates(dataRoot: string): void {
  using store = openStore({ path: join(dataRoot, 'swarm/manager/store.db'), logger: silentLogger() });
  store.update((transaction) => {
    for (const stored of transaction.list('cluster')) {
      const cluster = clone(ClusterSchema, stored);
      rotateKeys(cluster);
      transaction.update('cluster', cluster);
    }
    for (const stored of transaction.list('node')) {
      const node = clone(NodeSchema, stored);
      if (node.role !== NodeRole.WORKER || !node.certificate?.status) continue;
      node.certificate.status.state = IssuanceStatus_State.ROTATE;
      transaction.update('node', node);
    }
  });
}

/** The root that a running manager signs with, from a copy of its store. @param dataRoot the data root of the manager. */
export function rootAuthority(dataRoot: string): CertificateAuthority {
  const copy = mkdtempSync(join(tmpdir(), 'skein-store-'));
  try {
    const directory = join(dataRoot, 'swarm/manager');
    for (const file of readdirSync(directory))
      if (file.startsWith('store.db')) cpSync(join(directory, file), join(copy, file));
    using store = openStore({ path: join(copy, 'store.db'), logger: silentLogger() });
    const root = store.view((transaction) => transaction.list('cluster'))[0]?.rootCa;
    if (!root) throw new Error(`no root in the store of ${dataRoot}`);
    return {
      certificate: Buffer.from(root.caCert).toString('latin1'),
      key: Buffer.from(root.caKey).toString('latin1'),
    };
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}
