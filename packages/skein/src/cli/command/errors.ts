/** An error that ends the command: its message goes to standard error as it is, `exitCode` to the shell. */
export class CommandError extends Error {
  override readonly name: string = 'CommandError';
  readonly exitCode: number;

  constructor(message: string, exitCode = 1, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}

/** Exit code of a command line that does not parse, and of `exec` when the engine refuses (docker/cli: StatusError). */
export const usageExitCode = 125;

/** A flag that is unknown, lacks its value or has a bad one; the usage line follows its message. */
export class FlagError extends CommandError {
  override readonly name = 'FlagError';

  constructor(message: string, options?: ErrorOptions) {
    super(message, usageExitCode, options);
  }
}

/** Ends the command with a code and no words: the process inside already said what there was to say. */
export class SilentExit extends CommandError {
  override readonly name = 'SilentExit';

  constructor(exitCode: number) {
    super('', exitCode);
  }
}
