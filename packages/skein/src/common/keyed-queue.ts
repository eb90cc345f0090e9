/** Runs actions of the same key one after the other, those of different keys beside each other. */
export class KeyedQueue {
  /** The last action of each key that has not ended. BOUNDED by the keys in use. */
  readonly #last = new Map<string, Promise<void>>();

  /** Runs the action when all earlier ones of this key have ended, however. Its result and its error are the caller's. */
  run<T>(key: string, action: () => Promise<T>): Promise<T> {
    const result = (this.#last.get(key) ?? Promise.resolve()).then(action);
    const ended = result.then(
      () => undefined,
      () => undefined,
    );
    this.#last.set(key, ended);
    void ended.then(() => {
      if (this.#last.get(key) === ended) this.#last.delete(key);
    });
    return result;
  }

  /** Resolves when what is under way for this key, or for all, has ended. */
  async settled(key?: string): Promise<void> {
    await (key === undefined ? Promise.all(this.#last.values()) : this.#last.get(key));
  }
}
