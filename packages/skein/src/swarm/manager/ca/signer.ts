import { clone, create } from '@bufbuild/protobuf';
import { type Clock, errorText, type Logger } from '../../../common/index.ts';
import { type Node, NodeSchema } from '../../gen/objects_pb.js';
import { NodeSpec_Membership } from '../../gen/specs_pb.js';
import { CertificateSchema, IssuanceStatus_State, IssuanceStatusSchema, NodeRole } from '../../gen/types_pb.js';
import {
  type CertificateAuthority,
  defaultNodeCertificateSeconds,
  managerRole,
  signNodeCertificate,
  Wakeup,
  workerRole,
} from '../../identity/index.ts';
import type { Store, WriteTransaction } from '../../store/types.ts';

export interface SignerOptions {
  readonly store: Store;
  readonly clusterId: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Signs, one after the other, the certificates of all nodes whose request waits in the store: PENDING of an accepted
 * node, and RENEW. A reconciler: it looks at the whole table after each change, so a crash loses nothing. A node in
 * ROTATE is left alone: that state asks the node for a new request (swarmkit ca/server.go: evaluateAndSignNodeCert).
 */
export class CertificateSigner {
  readonly #options: SignerOptions;
  readonly #closing = new AbortController();
  readonly #wakeup = new Wakeup();
  readonly #unwatch: () => void;
  readonly #running: Promise<void>;

  constructor(options: SignerOptions) {
    this.#options = options;
    this.#unwatch = options.store.watch((events) => {
      if (events.some(({ table, action }) => action !== 'delete' && (table === 'node' || table === 'cluster'))) {
        this.#wakeup.notify();
      }
    });
    this.#wakeup.notify();
    this.#running = this.#run();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#unwatch();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (await this.#wakeup.next(this.#closing.signal)) {
      const waiting = this.#options.store.view((transaction) => transaction.list('node').filter(needsSigning));
      for (const node of waiting) {
        if (this.#closing.signal.aborted) return;
        await this.#sign(node).catch((error: unknown) => {
          this.#options.logger.error({ err: error, node: node.id }, 'certificate was not signed');
        });
      }
    }
  }

  async #sign(node: Node): Promise<void> {
    const { store, clusterId, clock } = this.#options;
    const cluster = store.view((transaction) => transaction.get('cluster', clusterId));
    const rootCa = cluster?.rootCa;
    const request = node.certificate;
    if (rootCa === undefined || rootCa.caKey.length === 0 || request === undefined) return;
    const authority: CertificateAuthority = {
      certificate: Buffer.from(rootCa.caCert).toString('latin1'),
      key: Buffer.from(rootCa.caKey).toString('latin1'),
    };
    const role = node.role === NodeRole.MANAGER ? managerRole : workerRole;
    const subject = { organization: clusterId, role, nodeId: node.id } as const;
    const expiry = cluster?.spec?.caConfig?.nodeCertExpiry?.seconds;
    const seconds = expiry === undefined || expiry <= 0n ? defaultNodeCertificateSeconds : Number(expiry);
    const issued = { state: IssuanceStatus_State.ISSUED, err: '' };
    try {
      const certificate = await signNodeCertificate(authority, request.csr, subject, seconds, clock.now());
      this.#record(node, issued, Buffer.from(certificate, 'latin1'));
    } catch (error) {
      this.#record(node, { state: IssuanceStatus_State.FAILED, err: errorText(error) }, new Uint8Array());
    }
  }

  /** Writes the outcome unless the node asked anew, or left, in the meantime. */
  #record(signed: Node, status: { state: IssuanceStatus_State; err: string }, certificate: Uint8Array): void {
    this.#options.store.update((transaction) => {
      const node = transaction.get('node', signed.id);
      const current = node?.certificate;
      if (node === undefined || current === undefined || !needsSigning(node) || node.role !== signed.role) return;
      if (!Buffer.from(current.csr).equals(signed.certificate?.csr ?? new Uint8Array())) return;
      const next = clone(CertificateSchema, current);
      next.status = create(IssuanceStatusSchema, status);
      next.certificate = certificate;
      next.role = node.role;
      replaceNode(transaction, node, { certificate: next });
    });
  }
}

/** Updates some fields of a stored node. */
export function replaceNode(transaction: WriteTransaction, node: Node, changes: Partial<Node>): void {
  transaction.update('node', Object.assign(clone(NodeSchema, node), changes));
}

function needsSigning(node: Node): boolean {
  const state = node.certificate?.status?.state;
  if (state === IssuanceStatus_State.RENEW) return true;
  return state === IssuanceStatus_State.PENDING && node.spec?.membership === NodeSpec_Membership.ACCEPTED;
}
