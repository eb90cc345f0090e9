/**
 * The one error type that crosses rooms. `code` is the gRPC vocabulary (google.rpc.Code) that swarmkit's
 * errors use; the engine maps it to an HTTP status in one place, the gRPC servers to a Connect code.
 */
export type ErrorCode =
  | 'Canceled'
  | 'Unknown'
  | 'InvalidArgument'
  | 'DeadlineExceeded'
  | 'NotFound'
  | 'AlreadyExists'
  | 'PermissionDenied'
  | 'ResourceExhausted'
  | 'FailedPrecondition'
  | 'Aborted'
  | 'OutOfRange'
  | 'Unimplemented'
  | 'Internal'
  | 'Unavailable'
  | 'Unauthenticated'
  /** The request contradicts the object's present state (HTTP 409), such as removing a running container. */
  | 'Conflict'
  /** The object is already as asked (HTTP 304), such as stopping a stopped container. */
  | 'NotModified';

/** An error that names its cause in the user's words and carries a code for the API. */
export class SkeinError extends Error {
  override readonly name: string = 'SkeinError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * An error of the cluster's control API. Its message reads as dockerd prints swarmkit's errors:
 * `rpc error: code = NotFound desc = …`; `description` is the bare text.
 */
export class RpcError extends SkeinError {
  override readonly name = 'RpcError';
  readonly description: string;

  constructor(code: ErrorCode, description: string, options?: ErrorOptions) {
    super(code, `rpc error: code = ${code} desc = ${description}`, options);
    this.description = description;
  }
}

/** @returns the message of anything thrown. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
