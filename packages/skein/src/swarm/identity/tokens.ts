import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { SkeinError } from '../../common/index.ts';

/** What every join token starts with (swarmkit ca/config.go). */
const tokenPrefix = 'SWMTKN';
const digestLength = 50;
const secretLength = 25;
const secretBytes = 16;
const base36 = 36;

/**
 * A join token:
 *
 *     SWMTKN-1-<digest: 50 base36>-<secret: 25 base36>
 *     SWMTKN-2-<1 = FIPS mandatory, 0 = not>-<digest>-<secret>
 */
export interface JoinToken {
  readonly version: 1 | 2;
  readonly fips: boolean;
  /** SHA-256 of the root certificates' PEM bytes, in 64 hex digits. */
  readonly digest: string;
  readonly secret: string;
}

/** @returns SHA-256 of the exact PEM bytes (whole bundle, last newline too) in hex. */
export function rootDigest(rootCaPem: string | Uint8Array): string {
  return createHash('sha256').update(rootCaPem).digest('hex');
}

/** @returns a new token that proves the right to join under `rootCaPem`; each call makes another secret. */
export function generateJoinToken(rootCaPem: string | Uint8Array, fips = false): string {
  const secret = BigInt(`0x${randomBytes(secretBytes).toString('hex')}`);
  return formatJoinToken({
    version: fips ? 2 : 1,
    fips,
    digest: rootDigest(rootCaPem),
    secret: secret.toString(base36).padStart(secretLength, '0'),
  });
}

/** @returns the token as text. */
export function formatJoinToken(token: JoinToken): string {
  const digest = BigInt(`0x${token.digest}`).toString(base36).padStart(digestLength, '0');
  const version = token.version === 1 ? ['1'] : ['2', token.fips ? '1' : '0'];
  return [tokenPrefix, ...version, digest, token.secret].join('-');
}

/** @throws SkeinError InvalidArgument `invalid join token` for anything that is not a version 1 or 2 token. */
export function parseJoinToken(text: string): JoinToken {
  const [prefix, version, ...rest] = text.split('-');
  const fips = version === '2' ? rest.shift() : '0';
  const [digest, secret] = rest;
  const wellFormed =
    prefix === tokenPrefix &&
    (version === '1' || version === '2') &&
    (fips === '0' || fips === '1') &&
    rest.length === 2 &&
    digest?.length === digestLength &&
    secret?.length === secretLength &&
    /^[0-9a-z]+$/.test(digest + secret);
  if (!wellFormed) throw invalidToken();
  const hex = base36ToBigInt(digest).toString(16).padStart(64, '0');
  if (hex.length > 64) throw invalidToken();
  return { version: version === '1' ? 1 : 2, fips: fips === '1', digest: hex, secret };
}

/** Compares in constant time, so that the answer's delay tells nothing about the right token. */
export function sameToken(offered: string, expected: string): boolean {
  const [a, b] = [Buffer.from(offered), Buffer.from(expected)];
  return expected !== '' && a.length === b.length && timingSafeEqual(a, b);
}

function invalidToken(): SkeinError {
  return new SkeinError('InvalidArgument', 'invalid join token');
}

function base36ToBigInt(digits: string): bigint {
  let value = 0n;
  for (const digit of digits) value = value * BigInt(base36) + BigInt(Number.parseInt(digit, base36));
  return value;
}
