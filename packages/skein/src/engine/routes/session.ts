/** A process's streams joined with a client's connection, for exec and attach. */
import type { Duplex, Writable } from 'node:stream';
import type { ProcessStreams } from '../../container/types.ts';
import { detachFilter } from '../detach-keys.ts';
import { copyOutput } from '../streams.ts';

export interface Wanted {
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** With a terminal the output is one stream without frames. */
  readonly tty: boolean;
}

/** Copies the output to the client until the process's streams end or the client is gone. */
export async function joinOutput(
  streams: ProcessStreams,
  target: Writable,
  { stdout, stderr, tty }: Wanted,
  signal: AbortSignal,
): Promise<void> {
  const copies: Promise<void>[] = [];
  if (stdout) copies.push(copyOutput(streams.stdout, target, tty ? 'tty' : 'stdout', signal));
  else streams.stdout.resume();
  if (streams.stderr !== undefined) {
    if (stderr) copies.push(copyOutput(streams.stderr, target, 'stderr', signal));
    else streams.stderr.resume();
  }
  await Promise.all(copies);
}

/**
 * Both directions. What the client sends goes to the process's input, which ends with the client's half, or when it
 * hangs up. A terminal's input stays open: its user may have left by the detach keys, which the docker CLI sees to
 * itself and then hangs up (moby container/stream/attach.go).
 * @returns whether the output came to its end, and nobody left before.
 */
export async function joinSession(
  streams: ProcessStreams,
  connection: Duplex,
  wanted: Wanted & { readonly stdin: boolean; readonly detachKeys: Uint8Array },
  signal: AbortSignal,
): Promise<boolean> {
  const { stdin } = streams;
  const leave = new AbortController();
  const hangUp = (): void => {
    if (!leave.signal.aborted && !wanted.tty) stdin?.end();
    leave.abort();
  };
  if (signal.aborted) hangUp();
  else signal.addEventListener('abort', hangUp, { once: true });
  if (stdin === undefined || !wanted.stdin) {
    stdin?.end();
    // Read on, to notice that the client hangs up.
    connection.resume();
  } else {
    const input = wanted.tty
      ? connection.pipe(
          detachFilter(wanted.detachKeys, () => {
            // What was typed before the keys is passed on first.
            setImmediate(() => {
              input.unpipe(stdin);
              leave.abort();
            });
          }),
        )
      : connection;
    input.pipe(stdin, { end: !wanted.tty });
    if (wanted.tty) input.once('end', () => leave.abort());
    // A process that closes its input is no error of the session.
    stdin.on('error', () => input.unpipe(stdin));
  }
  await joinOutput(streams, connection, wanted, leave.signal);
  return !leave.signal.aborted;
}
