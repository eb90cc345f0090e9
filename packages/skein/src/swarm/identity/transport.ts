import { Code, ConnectError, type Transport } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { type ErrorCode, errorText, RpcError, SkeinError } from '../../common/index.ts';
import { type ConnectionSecurity, VerifiedSessionManager } from './verified-session.ts';

/** One HTTP/2 connection to a manager, opened with the first call. */
export interface ManagerConnection extends Disposable {
  readonly address: string;
  readonly transport: Transport;
  /** Turns what a call threw into the RpcError that Docker would print. */
  error(thrown: unknown): RpcError;
}

/** dispatcher and CA answers fit; an agent accepts any size (swarmkit agent: MaxCallRecvMsgSize). */
const readMaxBytes = 0xff_ff_ff_ff;

/** Prepares a connection to `host:port`. Nothing is sent before the first call. The caller disposes it. */
export function connectManager(address: string, security: ConnectionSecurity): ManagerConnection {
  const baseUrl = `https://${address}`;
  const sessionManager = new VerifiedSessionManager(baseUrl, security);
  const transport = createGrpcTransport({ baseUrl, sessionManager, readMaxBytes });
  return {
    address,
    transport,
    error: (thrown) => toRpcError(thrown, address, sessionManager.state() !== 'open'),
    [Symbol.dispose]: () => sessionManager.abort(new ConnectError('connection closed', Code.Canceled)),
  };
}

/** How Go names the errors of a dial (net.OpError), by Node's error code. */
const dialCauses: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connect: connection refused',
  EHOSTUNREACH: 'connect: no route to host',
  ENETUNREACH: 'connect: network is unreachable',
  ETIMEDOUT: 'i/o timeout',
  ENOTFOUND: 'no such host',
};

function toRpcError(thrown: unknown, address: string, notConnected: boolean): RpcError {
  if (thrown instanceof RpcError) return thrown;
  const error = ConnectError.from(thrown);
  const code = codeName(error.code);
  const systemCode = systemErrorCode(error);
  const refused = refusedServer(error);
  if (refused !== undefined) {
    const text = `connection error: desc = "transport: authentication handshake failed: ${refused.message}"`;
    return new RpcError('Unavailable', text, { cause: thrown });
  }
  const dialFailed = systemCode !== undefined && (code === 'Unavailable' || code === 'Internal' || code === 'Unknown');
  if (dialFailed || (notConnected && code === 'DeadlineExceeded')) {
    const cause = dialCauses[systemCode ?? 'ETIMEDOUT'] ?? errorText(error.cause ?? error);
    const text = `connection error: desc = "transport: Error while dialing: dial tcp ${address}: ${cause}"`;
    return new RpcError('Unavailable', text, { cause: thrown });
  }
  return new RpcError(code, error.rawMessage, { cause: thrown });
}

/** The reason why we would not talk to the server. */
function refusedServer(error: Error): SkeinError | undefined {
  let current: unknown = error.cause;
  for (let depth = 0; depth < 5 && current instanceof Error; depth++) {
    if (current instanceof SkeinError) return current;
    current = current.cause;
  }
  return undefined;
}

/** Walks the causes down to the system's error code (`ECONNREFUSED`, `ERR_TLS_…`). */
function systemErrorCode(error: Error): string | undefined {
  let current: unknown = error.cause;
  for (let depth = 0; depth < 5 && current instanceof Error; depth++) {
    if ('code' in current && typeof current.code === 'string' && !current.code.startsWith('ERR_HTTP2')) {
      return current.code;
    }
    current = current.cause;
  }
  return undefined;
}

/** @returns the name of a Connect code in our vocabulary (the same names). */
export function codeName(code: Code): ErrorCode {
  return Code[code] as ErrorCode;
}

/** @returns the Connect code for any error of ours; what has no code is Unknown, as in grpc-go. */
export function connectCode(error: unknown): Code {
  if (error instanceof ConnectError) return error.code;
  if (!(error instanceof SkeinError)) return Code.Unknown;
  if (error.code === 'Conflict' || error.code === 'NotModified') return Code.FailedPrecondition;
  return Code[error.code];
}
