/** The connection to containerd: one HTTP/2 session over its Unix socket, every call in the namespace `skein`. */
import { connect } from 'node:net';
import { type Client, Code, ConnectError, createClient, type Interceptor } from '@connectrpc/connect';
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node';
import { type ErrorCode, SkeinError } from '../../common/index.ts';
import { Containers } from '../gen/containers_pb.js';
import { Content } from '../gen/content_pb.js';
import { Diff } from '../gen/diff_pb.js';
import { Events } from '../gen/events_pb.js';
import { Images } from '../gen/images_pb.js';
import { Leases } from '../gen/leases_pb.js';
import { Namespaces } from '../gen/namespaces_pb.js';
import { Snapshots } from '../gen/snapshots_pb.js';
import { Tasks } from '../gen/tasks_pb.js';
import { Version } from '../gen/version_pb.js';

/** containerd's world that is ours. */
export const containerdNamespace = 'skein';
/** The snapshotter that holds images and containers. */
export const snapshotter = 'overlayfs';
/** Time-out of a call that names none, in milliseconds: creating a task under load takes seconds. */
const callTimeoutMs = 60_000;
/** For calls that end when something happens: their caller passes an AbortSignal. */
export const noTimeout = { timeoutMs: 0 } as const;
/** Time-out of applying one layer, in milliseconds. */
export const applyTimeoutMs = 600_000;

/** The services of one containerd. Owned by the runtime, which closes it. */
export interface Containerd extends Disposable {
  readonly containers: Client<typeof Containers>;
  readonly content: Client<typeof Content>;
  readonly diff: Client<typeof Diff>;
  readonly events: Client<typeof Events>;
  readonly images: Client<typeof Images>;
  readonly leases: Client<typeof Leases>;
  readonly namespaces: Client<typeof Namespaces>;
  readonly snapshots: Client<typeof Snapshots>;
  readonly tasks: Client<typeof Tasks>;
  readonly version: Client<typeof Version>;
}

const inNamespace: Interceptor = (next) => (request) => {
  request.header.set('containerd-namespace', containerdNamespace);
  return next(request);
};

/** @param address path of containerd's Unix socket. The session is opened with the first call and again after a loss. */
export function connectContainerd(address: string): Containerd {
  const baseUrl = 'http://localhost';
  const sessionManager = new Http2SessionManager(baseUrl, {}, { createConnection: () => connect(address) });
  const transport = createGrpcTransport({
    baseUrl,
    sessionManager,
    interceptors: [inNamespace],
    defaultTimeoutMs: callTimeoutMs,
  });
  return {
    containers: createClient(Containers, transport),
    content: createClient(Content, transport),
    diff: createClient(Diff, transport),
    events: createClient(Events, transport),
    images: createClient(Images, transport),
    leases: createClient(Leases, transport),
    namespaces: createClient(Namespaces, transport),
    snapshots: createClient(Snapshots, transport),
    tasks: createClient(Tasks, transport),
    version: createClient(Version, transport),
    [Symbol.dispose]: () => sessionManager.abort(),
  };
}

export function hasCode(error: unknown, code: Code): boolean {
  return error instanceof ConnectError && error.code === code;
}

/** @returns whether containerd answered that it has no such thing. */
export function isNotFound(error: unknown): boolean {
  return hasCode(error, Code.NotFound);
}

/** @returns whether containerd answered that it has this already. */
export function isAlreadyExists(error: unknown): boolean {
  return hasCode(error, Code.AlreadyExists);
}

/** @returns whether the call failed for want of a connection, so that it is worth another try. */
export function isUnavailable(error: unknown): boolean {
  return hasCode(error, Code.Unavailable) || hasCode(error, Code.Aborted) || hasCode(error, Code.DeadlineExceeded);
}

/** Awaits a removal, for which "there is none" is success. */
export async function unlessNotFound<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** @returns a containerd error as the room's error type: its bare text, its code. */
export function fromContainerd(error: unknown): SkeinError {
  if (error instanceof SkeinError) return error;
  const connectError = ConnectError.from(error);
  const code = Code[connectError.code] as ErrorCode | undefined;
  return new SkeinError(code ?? 'Unknown', connectError.rawMessage, { cause: error });
}
