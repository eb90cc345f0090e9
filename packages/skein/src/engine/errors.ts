/** The one place where errors become HTTP answers. */
import { type ErrorCode, SkeinError } from '../common/index.ts';

/** moby daemon/server/httpstatus: FromError, for gRPC codes and its own error interfaces. */
const statuses: Readonly<Record<ErrorCode, number>> = {
  InvalidArgument: 400,
  FailedPrecondition: 400,
  OutOfRange: 400,
  Unauthenticated: 401,
  PermissionDenied: 403,
  NotFound: 404,
  AlreadyExists: 409,
  Conflict: 409,
  NotModified: 304,
  Unimplemented: 501,
  Unavailable: 503,
  Canceled: 500,
  Unknown: 500,
  DeadlineExceeded: 500,
  ResourceExhausted: 500,
  Aborted: 500,
  Internal: 500,
};

/** @returns the HTTP status of anything thrown; 500 for what is not a SkeinError. */
export function httpStatus(error: unknown): number {
  return error instanceof SkeinError ? statuses[error.code] : 500;
}

/** An endpoint or option that Skein does not have, and what to do instead. */
export function notBuilt(sentence: string): SkeinError {
  return new SkeinError('Unimplemented', sentence);
}

export function invalid(message: string, cause?: unknown): SkeinError {
  return new SkeinError('InvalidArgument', message, { cause });
}
