import { CommandError } from '../../command/errors.ts';

export const defaultDetachKeys = 'ctrl-p,ctrl-q';

/** ASCII control characters are the letter without its two top bits. */
const controlMask = 0x1f;

/** @returns the bytes of keys in docker's notation: letters, or `ctrl-` with a letter or one of `@ ^ [ , _`. */
export function parseDetachKeys(text: string): number[] {
  return text.split(/,(?!$)/).map((key) => {
    if ([...key].length === 1) return key.charCodeAt(0);
    const control = /^ctrl-([a-zA-Z@^[\\\],_])$/.exec(key)?.[1];
    if (!control) throw new CommandError(`Unknown character: '${key}'`);
    return control.toUpperCase().charCodeAt(0) & controlMask;
  });
}

/** Watches input for the detach keys; holds back what may become them. */
export class DetachWatcher {
  readonly #keys: readonly number[];
  /** How many of the keys have been seen in a row. */
  #seen = 0;

  constructor(keys: string) {
    this.#keys = parseDetachKeys(keys || defaultDetachKeys);
  }

  /** @returns what goes on to the process, and whether the keys are complete. */
  feed(chunk: Uint8Array): { forward: Uint8Array; detach: boolean } {
    const forward: number[] = [];
    for (const byte of chunk) {
      if (byte !== this.#keys[this.#seen]) {
        forward.push(...this.#keys.slice(0, this.#seen));
        this.#seen = 0;
      }
      if (byte !== this.#keys[this.#seen]) {
        forward.push(byte);
        continue;
      }
      this.#seen++;
      if (this.#seen === this.#keys.length) return { forward: Uint8Array.from(forward), detach: true };
    }
    return { forward: Uint8Array.from(forward), detach: false };
  }
}
