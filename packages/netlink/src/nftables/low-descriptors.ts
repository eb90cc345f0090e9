/**
 * libnftables waits for its socket with select(2), which ends the process when that has a number from FD_SETSIZE on
 * (libnftables src/mnl.c, bits/select.h). So some low numbers are kept for it, whatever else the process has open.
 */
import { closeSync, openSync } from 'node:fs';

/** sys/select.h */
const FD_SETSIZE = 1024;
/** More than contexts are open at a time, those that rest (retired.ts) among them. */
const KEPT = 48;
/** Below this the next number is low in any case: other threads do not open so many files in a moment. */
const CERTAINLY_LOW = FD_SETSIZE / 2;

/** BOUNDED by KEPT. */
const kept: number[] = [];

/** Runs what opens the library's socket. @throws Error when no low number is free and none is kept. */
export function withLowDescriptors<Result>(open: () => Result): Result {
  keep();
  if (nextDescriptor() < CERTAINLY_LOW) return open();
  for (const fd of kept.splice(0)) closeSync(fd);
  try {
    if (nextDescriptor() >= FD_SETSIZE) throw new Error(`too many open files: none below ${FD_SETSIZE} is free`);
    return open();
  } finally {
    keep();
  }
}

function nextDescriptor(): number {
  const fd = openSync('/dev/null', 'r');
  closeSync(fd);
  return fd;
}

function keep(): void {
  while (kept.length < KEPT) {
    const fd = openSync('/dev/null', 'r');
    if (fd < FD_SETSIZE) kept.push(fd);
    else {
      closeSync(fd);
      return;
    }
  }
}
