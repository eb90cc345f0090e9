/**
 * Encrypted payloads (security.go of hashicorp/memberlist):
 *
 *     [version 1][nonce 12][ciphertext n][tag 16]
 *
 * AES-GCM; version 1 is not padded, version 0 is padded with PKCS#7 to 16 bytes.
 */
import { type CipherGCMTypes, createCipheriv, createDecipheriv } from 'node:crypto';
import type { Random } from '../runtime/index.ts';
import { WireError } from './errors.ts';
import type { Keyring } from './keyring.ts';

const VERSION_SIZE = 1;
const NONCE_SIZE = 12;
const TAG_SIZE = 16;
const BLOCK_SIZE = 16;
const PADDED = 0;
const UNPADDED = 1;

/** Bytes that encryption adds to a packet. */
export const ENCRYPTION_OVERHEAD = VERSION_SIZE + NONCE_SIZE + TAG_SIZE;

const NO_DATA = new Uint8Array(0);
const cipherOf = (key: Uint8Array): CipherGCMTypes => `aes-${(key.length * 8) as 128 | 192 | 256}-gcm`;

/** Encrypts with the ring's primary; `data` is authenticated with it. */
export function encrypt(plain: Uint8Array, key: Uint8Array, random: Random, data: Uint8Array = NO_DATA): Uint8Array {
  const nonce = random.bytes(NONCE_SIZE);
  const cipher = createCipheriv(cipherOf(key), key, nonce).setAAD(data);
  return Buffer.concat([Uint8Array.of(UNPADDED), nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

/** Decrypts with whichever key of the ring fits; throws `WireError` 'undecryptable' when none does. */
export function decrypt(sealed: Uint8Array, keyring: Keyring, data: Uint8Array = NO_DATA): Uint8Array {
  const [version] = sealed;
  if (sealed.length < ENCRYPTION_OVERHEAD) throw new WireError('truncated', 'too short to be encrypted');
  if (version !== PADDED && version !== UNPADDED) {
    throw new WireError('undecryptable', `encryption version ${version}`);
  }
  for (const key of keyring.keys) {
    const plain = open(sealed, key, data);
    if (plain) return version === PADDED ? unpad(plain) : plain;
  }
  throw new WireError('undecryptable', 'no installed key decrypts this');
}

function open(sealed: Uint8Array, key: Uint8Array, data: Uint8Array): Uint8Array | undefined {
  const body = VERSION_SIZE + NONCE_SIZE;
  const tag = sealed.length - TAG_SIZE;
  const nonce = sealed.subarray(VERSION_SIZE, body);
  const decipher = createDecipheriv(cipherOf(key), key, nonce, { authTagLength: TAG_SIZE });
  decipher.setAAD(data).setAuthTag(sealed.subarray(tag));
  const plain = decipher.update(sealed.subarray(body, tag));
  try {
    decipher.final();
    return plain;
  } catch {
    // The tag does not match: sealed with another key, or changed on the way. The next key is tried.
    return undefined;
  }
}

function unpad(padded: Uint8Array): Uint8Array {
  const count = padded.at(-1) ?? 0;
  if (count === 0 || count > BLOCK_SIZE || count > padded.length) throw new WireError('malformed', 'wrong padding');
  return padded.subarray(0, padded.length - count);
}
