import type { Http2Session } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { type ContextValues, createContextKey, createContextValues } from '@connectrpc/connect';
import { RpcError } from '../../../common/index.ts';
import { type CertificateSubject, certificateSubject } from '../../identity/index.ts';

/** The other end has this long to answer a ping; the gossip asks a host for as long. */
const pingTimeoutMs = 300;

/** Who is at the other end of a call. */
export interface Peer {
  /** IP address, without the port. */
  readonly address: string;
  /** From the verified client certificate; undefined when none was shown. */
  readonly subject: CertificateSubject | undefined;
  /** Whether the other end of the connection answers, in time. Never rejects. */
  readonly ping: () => Promise<boolean>;
}

/** @returns an address as its node knows it: a socket of both families shows those of IPv4 as `::ffff:…`. */
export function remoteAddressOf({ remoteAddress }: { readonly remoteAddress?: string | undefined }): string {
  return (remoteAddress ?? '').replace(/^::ffff:(?=\d+\.)/, '');
}

/** `10.0.0.1:4711` and `[fe80::1]:4711` → the host. */
export function hostOf(address: string): string {
  return address.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
}

/** The peer of a call, as the TLS layer proved it. */
export const peerKey = createContextKey<Peer>({
  address: '',
  subject: undefined,
  ping: () => Promise.resolve(false),
});

/** The node that a call comes from, after authorization: the peer, or whom a manager forwarded for. */
export const callerKey = createContextKey<{ readonly nodeId: string; readonly address: string } | undefined>(undefined);

/** @returns the caller's node. @throws RpcError PermissionDenied for a call that was not authorized by certificate. */
export function callerOf(values: ContextValues): { readonly nodeId: string; readonly address: string } {
  const caller = values.get(callerKey);
  if (caller === undefined) throw new RpcError('PermissionDenied', 'no client certificates in request');
  return caller;
}

/** Reading a certificate costs microseconds, so it is read once a connection. */
export class PeerCache {
  readonly #peers = new WeakMap<Http2Session, Peer>();

  contextValues(session: Http2Session | undefined): ContextValues {
    const values = createContextValues();
    return session === undefined ? values : values.set(peerKey, this.#peer(session));
  }

  #peer(session: Http2Session): Peer {
    const known = this.#peers.get(session);
    if (known !== undefined) return known;
    const socket = session.socket as TLSSocket;
    const certificate = socket.getPeerX509Certificate();
    const peer = {
      address: remoteAddressOf(socket),
      subject: certificate && certificateSubject(certificate),
      ping: () => ping(session),
    };
    this.#peers.set(session, peer);
    return peer;
  }
}

/** HTTP/2's PING, which a connection answers without its application. */
function ping(session: Http2Session): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), pingTimeoutMs);
  try {
    // Refused when too many are unanswered.
    if (!session.ping((error) => resolve(error === null))) resolve(false);
  } catch {
    resolve(false); // The connection is closed.
  }
  return promise.finally(() => clearTimeout(timer));
}
