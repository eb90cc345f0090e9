import type { Images, RegistryAuth } from '../container/types.ts';

/** A pull that is under way, and for how many tasks. */
interface SharedPull {
  readonly done: Promise<void>;
  readonly ending: AbortController;
  tasks: number;
}

/**
 * The pulls of this host's tasks: what several tasks want at the same time, of one image with the same credentials, is
 * one pull. A service with many replicas asks the registry once, not once for each; registries count what they are
 * asked, and one that cannot be found costs its time-out.
 */
export class TaskPulls {
  readonly #images: Pick<Images, 'pull'>;
  /** BOUNDED by the tasks that are being prepared. */
  readonly #pulls = new Map<string, SharedPull>();

  constructor(images: Pick<Images, 'pull'>) {
    this.#images = images;
  }

  /**
   * Resolves when the image has been pulled. Who leaves by the signal ends the pull only if nobody else waits for it.
   * @throws what the pull threw; the signal's reason.
   */
  async pull(image: string, auth: RegistryAuth | undefined, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const key = JSON.stringify([image, auth]);
    const shared = this.#pulls.get(key) ?? this.#start(key, image, auth);
    shared.tasks += 1;
    const { promise: left, reject } = Promise.withResolvers<never>();
    const leave = (): void => reject(signal.reason);
    signal.addEventListener('abort', leave, { once: true });
    try {
      await Promise.race([shared.done, left]);
    } finally {
      signal.removeEventListener('abort', leave);
      shared.tasks -= 1;
      if (shared.tasks === 0) this.#end(key, shared);
    }
  }

  #start(key: string, image: string, auth: RegistryAuth | undefined): SharedPull {
    const ending = new AbortController();
    const done = this.#follow(image, auth, ending.signal);
    const shared: SharedPull = { done, ending, tasks: 0 };
    this.#pulls.set(key, shared);
    // Who comes after its end asks anew. Those who wait for it hear of its failure; there may be none left.
    done.catch(() => undefined).finally(() => this.#end(key, shared));
    return shared;
  }

  async #follow(image: string, auth: RegistryAuth | undefined, signal: AbortSignal): Promise<void> {
    for await (const _progress of this.#images.pull(image, { ...(auth && { auth }), signal }));
  }

  #end(key: string, shared: SharedPull): void {
    shared.ending.abort();
    if (this.#pulls.get(key) === shared) this.#pulls.delete(key);
  }
}
