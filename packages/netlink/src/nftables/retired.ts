/**
 * Contexts of libnftables that nobody uses any more. Whoever closes an nfnetlink socket waits until the kernel has freed
 * what a transaction took away (net/netfilter/nf_tables_api.c, nft_rcv_nl_event): a grace period of RCU, 10 to 20 ms
 * just after the transaction, nothing a moment later. Nobody's event loop shall stand still for that.
 */
import { returnFreedMemory } from '../kernel/libc.ts';

/** Longer than a grace period. */
const restMs = 100;
/** BOUNDED: one holds half a megabyte, and its namespace. More are closed at once. */
const maximum = 32;

/** The C library keeps what contexts had, some ten megabytes after a burst of them; it is told to give that back. */
const returnMs = 2_000;

const resting: (() => void)[] = [];
let isReturning = false;

/** Frees a context after a while. `free` must not throw. */
export function retire(free: () => void): void {
  resting.push(free);
  setTimeout(next, restMs).unref();
  if (resting.length > maximum) next();
}

/** The oldest goes first, so each has rested for its time unless there were too many. */
function next(): void {
  resting.shift()?.();
  returnSoon();
}

function returnSoon(): void {
  if (isReturning) return;
  isReturning = true;
  const end = (): void => {
    isReturning = false;
    returnFreedMemory();
  };
  setTimeout(end, returnMs).unref();
}
