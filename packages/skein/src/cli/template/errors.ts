/** A template that does not parse or does not run; the message is Go's (text/template), without Docker's prefix. */
export class TemplateError extends Error {
  override readonly name = 'TemplateError';
  /** Whether it failed while running, not while being read. */
  readonly executing: boolean;

  constructor(message: string, executing = false) {
    super(message);
    this.executing = executing;
  }
}
