/** The keys by which a user leaves a terminal without ending what runs in it (moby/term: TTYProxy). */
import { Transform } from 'node:stream';
import { invalid } from './errors.ts';

/** Docker's default: ctrl-p, ctrl-q. */
const defaultDetachKeys = 'ctrl-p,ctrl-q';
/** `ctrl-` with these besides the letters. */
const controlCharacters: Readonly<Record<string, number>> = { '@': 0, '[': 27, '\\': 28, ']': 29, '^': 30, _: 31 };

/** @param keys `ctrl-x,a`, '' for the default. @returns the bytes. @throws SkeinError InvalidArgument. */
export function parseDetachKeys(keys: string): Uint8Array {
  return Uint8Array.from((keys === '' ? defaultDetachKeys : keys).split(',').map(parseKey));
}

function parseKey(key: string): number {
  const control = /^ctrl-(.)$/.exec(key)?.[1];
  const code = control === undefined ? undefined : controlCharacters[control];
  if (code !== undefined) return code;
  if (control !== undefined && /[a-z]/.test(control)) return control.charCodeAt(0) - 'a'.charCodeAt(0) + 1;
  if (/^[\x20-\x7e]$/.test(key)) return key.charCodeAt(0);
  throw invalid(`Invalid escape keys (${key}) provided`);
}

/** Passes input on until the keys come in a row, then calls `detached` and passes nothing more. Keys held back that turn out to be others go on. */
export function detachFilter(keys: Uint8Array, detached: () => void): Transform {
  let matched = 0;
  let left = false;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const passed: number[] = [];
      for (const byte of chunk) {
        if (left) break;
        if (byte !== keys[matched]) {
          passed.push(...keys.subarray(0, matched));
          matched = 0;
        }
        if (byte === keys[matched]) matched++;
        else passed.push(byte);
        if (matched < keys.length) continue;
        left = true;
        detached();
      }
      done(null, Buffer.from(passed));
    },
    flush(done) {
      done(null, left ? null : Buffer.from(keys.subarray(0, matched)));
    },
  });
}
