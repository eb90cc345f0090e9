/** Runs one asynchronous action at a time, in the order of the calls. */
export class Lock {
  #tail: Promise<unknown> = Promise.resolve();

  /** @returns what the action returns. */
  run<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(action);
    this.#tail = result.catch(() => undefined);
    return result;
  }
}
