import type { Duplex, Readable } from 'node:stream';
import { copy, demultiplex, writeTo } from '../../client/demultiplex.ts';
import type { Context } from '../../command/command.ts';
import { CommandError } from '../../command/errors.ts';
import { DetachWatcher } from './detach.ts';

/** A terminal's stdin, of which raw mode can be asked. */
type TerminalInput = Readable & { setRawMode?(raw: boolean): void; isTTY?: boolean; isRaw?: boolean };

/** What a session with a process needs to know. */
export interface SessionOptions {
  readonly tty: boolean;
  readonly stdin: boolean;
  /** Keys that leave the process running, in docker's notation: `ctrl-p,ctrl-q`. */
  readonly detachKeys: string;
  /** Tells the engine the terminal's size, now and with each change. */
  resize?(height: number, width: number): Promise<void>;
}

/** How a session ended: the process closed its output, or the user left it with the detach keys. */
export type SessionEnd = 'closed' | 'detached';

/** Joins the user's terminal with a process's streams until the process closes them or the user detaches. */
export async function runSession(context: Context, socket: Duplex, options: SessionOptions): Promise<SessionEnd> {
  using terminal = new Terminal(context, options);
  terminal.followSize();
  const detached = options.stdin ? forwardInput(context, socket, options) : new Promise<never>(() => {});
  const output = options.tty
    ? copy(socket, context.out)
    : demultiplex(socket, (stream, piece) => writeTo(stream === 'stdout' ? context.out : context.err, piece));
  const closed = output.then((): SessionEnd => 'closed');
  try {
    return await Promise.race([closed, detached]);
  } finally {
    socket.destroy();
    context.stdin.pause();
    closed.catch(() => 'closed');
  }
}

/** Sends the user's input on; resolves only when the user detaches. The end of the input ends the process's. */
function forwardInput(context: Context, socket: Duplex, options: SessionOptions): Promise<SessionEnd> {
  const watcher = options.tty ? new DetachWatcher(options.detachKeys) : undefined;
  return new Promise((resolve, reject) => {
    socket.on('error', reject);
    context.stdin.on('data', (chunk: Buffer) => {
      const { forward, detach } = watcher?.feed(chunk) ?? { forward: chunk, detach: false };
      if (forward.length > 0 && socket.writable && !socket.write(forward)) {
        context.stdin.pause();
        socket.once('drain', () => context.stdin.resume());
      }
      if (detach) resolve('detached');
    });
    context.stdin.once('end', () => socket.end());
    context.stdin.resume();
  });
}

/** The user's terminal: raw while the session lasts, its size followed. */
class Terminal implements Disposable {
  readonly #input: TerminalInput;
  readonly #output: NodeJS.WriteStream;
  readonly #options: SessionOptions;
  readonly #wasRaw: boolean;
  readonly #resize: () => void;

  constructor(context: Context, options: SessionOptions) {
    this.#input = context.stdin;
    this.#output = context.out as NodeJS.WriteStream;
    this.#options = options;
    this.#wasRaw = this.#input.isRaw === true;
    this.#resize = () => void this.#report();
    if (options.tty && options.stdin) this.#input.setRawMode?.(true);
  }

  followSize(): void {
    if (!this.#options.tty || !this.#options.resize || !this.#output.isTTY) return;
    this.#resize();
    this.#output.on('resize', this.#resize);
  }

  async #report(): Promise<void> {
    try {
      await this.#options.resize?.(this.#output.rows, this.#output.columns);
    } catch (error) {
      // A process that just ended has no size; what else is wrong shows in the session itself.
      if (!(error instanceof CommandError)) throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#output.off('resize', this.#resize);
    if (this.#options.tty && this.#options.stdin) this.#input.setRawMode?.(this.#wasRaw);
  }
}

/** @throws CommandError if a TTY is asked for and input is not one. */
export function requireTerminal(context: Context, tty: boolean, stdin: boolean): void {
  const input: TerminalInput = context.stdin;
  if (tty && stdin && !input.isTTY) throw new CommandError('the input device is not a TTY');
}
