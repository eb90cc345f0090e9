import { createPrivateKey, createPublicKey } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parseBundle } from './verification.ts';

/** File names under the certificates directory, as dockerd's (swarmkit ca/config.go). */
const rootCaFile = 'swarm-root-ca.crt';
const certificateFile = 'swarm-node.crt';
const keyFile = 'swarm-node.key';
const temporarySuffix = '.tmp';
const privateMode = 0o600;
const publicMode = 0o644;

/** A node's identity as it lies on disk, all PEM. */
export interface StoredIdentity {
  readonly rootCa: string;
  /** Leaf, then intermediates. */
  readonly certificate: string;
  readonly key: string;
}

/**
 * Reads the identity, and finishes a renewal that a crash cut between the key's and the certificate's rename.
 * @returns undefined when the node never joined.
 */
export async function readIdentity(directory: string): Promise<StoredIdentity | undefined> {
  const read = (name: string) => readIfPresent(join(directory, name));
  const [rootCa, certificate, key, next] = await Promise.all(
    [rootCaFile, certificateFile, keyFile, certificateFile + temporarySuffix].map(read),
  );
  if (rootCa === undefined || key === undefined) return undefined;
  if (next !== undefined && !belongTogether(certificate, key) && belongTogether(next, key)) {
    await rename(join(directory, certificateFile + temporarySuffix), join(directory, certificateFile));
    await syncDirectory(directory);
    return { rootCa, certificate: next, key };
  }
  return certificate === undefined ? undefined : { rootCa, certificate, key };
}

/**
 * Writes root, key and certificate durably. Each file changes atomically; the new certificate lies complete beside the
 * old one before the key changes, so that `readIdentity` can go on from a crash at any point.
 */
export async function writeIdentity(directory: string, identity: StoredIdentity): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeAtomically(join(directory, rootCaFile), identity.rootCa, publicMode);
  const certificatePath = join(directory, certificateFile);
  await writeDurably(certificatePath + temporarySuffix, identity.certificate, publicMode);
  await writeAtomically(join(directory, keyFile), identity.key, privateMode);
  await rename(certificatePath + temporarySuffix, certificatePath);
  await syncDirectory(directory);
}

/** Forgets the identity (`swarm leave`). */
export async function removeIdentity(directory: string): Promise<void> {
  for (const name of [certificateFile, keyFile, rootCaFile]) await rm(join(directory, name), { force: true });
}

/** Writes a file so that a reader, also after a crash, sees the old content or the new one, whole. */
export async function writeAtomically(path: string, content: string, mode: number): Promise<void> {
  await writeDurably(path + temporarySuffix, content, mode);
  await rename(path + temporarySuffix, path);
  await syncDirectory(dirname(path));
}

async function writeDurably(path: string, content: string, mode: number): Promise<void> {
  const handle = await open(path, 'w', mode);
  try {
    await handle.chmod(mode);
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function readIfPresent(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

function belongTogether(certificate: string | undefined, key: string): boolean {
  if (certificate === undefined || certificate === '') return false;
  const [leaf] = parseBundle(certificate);
  return leaf?.publicKey.equals(createPublicKey(createPrivateKey(key))) ?? false;
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
