import { Buffer } from 'node:buffer';

const KEY_SIZES = [16, 24, 32];
/** NetworkDB carries three keys; the bound keeps the trial decryption of garbage cheap. */
const MAX_KEYS = 16;

const equal = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** The gossip keys: the primary encrypts, every one of them decrypts. Empty means that nothing is encrypted. BOUNDED by 16 keys. */
export class Keyring {
  #keys: Uint8Array[] = [];

  /** `primary` is added to `keys` if it is not among them; without it the first key is the primary. */
  constructor(keys: readonly Uint8Array[] = [], primary?: Uint8Array) {
    for (const key of keys) this.add(key);
    if (primary) {
      this.add(primary);
      this.use(primary);
    }
  }

  /** The key that encrypts. */
  get primary(): Uint8Array | undefined {
    return this.#keys[0];
  }

  /** All keys, the primary first. */
  get keys(): readonly Uint8Array[] {
    return this.#keys;
  }

  get enabled(): boolean {
    return this.#keys.length > 0;
  }

  /** Installs a key for decryption. Throws `RangeError` for a wrong length or one key too many. */
  add(key: Uint8Array): void {
    if (!KEY_SIZES.includes(key.length)) throw new RangeError(`a gossip key has 16, 24 or 32 bytes, not ${key.length}`);
    if (this.#keys.some((known) => equal(known, key))) return;
    if (this.#keys.length >= MAX_KEYS) throw new RangeError(`a keyring holds at most ${MAX_KEYS} keys`);
    this.#keys.push(Uint8Array.from(key));
  }

  /** Makes an installed key the primary. Throws `RangeError` if it is not installed. */
  use(key: Uint8Array): void {
    const known = this.#keys.find((candidate) => equal(candidate, key));
    if (!known) throw new RangeError('the key is not in the keyring');
    this.#keys = [known, ...this.#keys.filter((other) => other !== known)];
  }

  /** Forgets a key. Throws `RangeError` for the primary. */
  remove(key: Uint8Array): void {
    if (this.primary && equal(this.primary, key)) throw new RangeError('the primary key cannot be removed');
    this.#keys = this.#keys.filter((known) => !equal(known, key));
  }

  /** Rotation in one step: installs what is new, encrypts with `primary`, forgets what is missing. */
  replace(keys: readonly Uint8Array[], primary: Uint8Array): void {
    this.#keys = new Keyring(keys, primary).#keys;
  }
}
