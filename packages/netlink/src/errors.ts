import { constants } from 'node:os';
import { getSystemErrorMessage } from 'node:util';

/** errno → name, as in errno.h; where Linux has two names for a number, the one that kernel sources use. */
const errnoNames = new Map<number, string>();
for (const [name, errno] of Object.entries(constants.errno)) errnoNames.set(errno, name);
errnoNames.set(constants.errno.EAGAIN, 'EAGAIN');
errnoNames.set(constants.errno.EOPNOTSUPP, 'EOPNOTSUPP');

/** The symbolic name of an errno (17 → 'EEXIST'), or 'E<number>' when the platform does not name it. */
export function errnoName(errno: number): string {
  return errnoNames.get(errno) ?? `E${errno}`;
}

/** A system call failed. `code` is what to test for; `errno` is the positive number of errno.h. */
export class SystemError extends Error {
  override readonly name: string = 'SystemError';
  readonly errno: number;
  readonly code: string;
  /** What was attempted, in words a log reader understands: 'bind 10.0.0.1:53', 'RTM_NEWLINK br0'. */
  readonly operation: string;

  constructor(operation: string, errno: number, detail?: string) {
    const code = errnoName(errno);
    super(`${operation}: ${code}, ${detail ?? getSystemErrorMessage(-errno)}`);
    this.operation = operation;
    this.errno = errno;
    this.code = code;
  }
}

/** The kernel refused a netlink request, or its answer was unusable. */
export class NetlinkError extends SystemError {
  override readonly name: string = 'NetlinkError';
  /** The kernel's own sentence (NETLINK_EXT_ACK), when it gave one. */
  readonly extendedAck: string | undefined;
  /** Offset in the request of the attribute the kernel objected to, in bytes from the message's start. */
  readonly offset: number | undefined;

  constructor(operation: string, errno: number, extendedAck?: string, offset?: number) {
    super(operation, errno, extendedAck);
    this.extendedAck = extendedAck;
    this.offset = offset;
  }
}

/** True when `error` is a SystemError (or a Node error) with one of the codes. */
export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && codes.includes(error.code);
}
