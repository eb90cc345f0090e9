import { readFile } from 'node:fs/promises';
import { errorText, type Logger } from '../../common/index.ts';
import type { WeightedPeer } from '../gen/types_pb.js';
import { writeAtomically } from '../identity/index.ts';

/** A manager that this node can ask. */
export interface KnownManager {
  /** '' for an address that the user gave. */
  readonly nodeId: string;
  /** `host:port`. */
  readonly address: string;
}

/** More managers than this in one list are not believed. */
const maxManagers = 1_000;
const fileMode = 0o600;

/** The managers that this node knows, kept on disk for the next start. BOUNDED by maxManagers. */
export class KnownManagers {
  readonly #path: string;
  readonly #logger: Logger;
  #managers: readonly KnownManager[];
  #next = 0;

  private constructor(path: string, managers: readonly KnownManager[], logger: Logger) {
    this.#path = path;
    this.#managers = managers;
    this.#logger = logger;
  }

  /** @param initial addresses to use when the file has none. */
  static async open(path: string, initial: readonly string[], logger: Logger): Promise<KnownManagers> {
    const remembered = await read(path, logger);
    const given = initial.filter((address) => !remembered.some((known) => known.address === address));
    return new KnownManagers(path, [...remembered, ...given.map((address) => ({ nodeId: '', address }))], logger);
  }

  all(): readonly KnownManager[] {
    return this.#managers;
  }

  addresses(): string[] {
    return this.#managers.map(({ address }) => address);
  }

  /** @returns the next one to try, in turn; undefined when none is known. */
  next(): KnownManager | undefined {
    return this.#managers[this.#next++ % this.#managers.length];
  }

  /** Takes the list of a Session message: what is not on it is forgotten. An empty list would cut us off and is passed over. */
  async replace(peers: readonly WeightedPeer[]): Promise<void> {
    const listed = peers.slice(0, maxManagers).flatMap(({ peer }) => {
      return peer === undefined || peer.addr === '' ? [] : [{ nodeId: peer.nodeId, address: peer.addr }];
    });
    const same = JSON.stringify(listed) === JSON.stringify(this.#managers);
    if (listed.length === 0 || same) return;
    this.#managers = listed;
    this.#next = 0;
    await writeAtomically(this.#path, JSON.stringify(listed), fileMode).catch((error: unknown) => {
      this.#logger.error({ error: errorText(error) }, 'the list of managers could not be kept');
    });
  }
}

async function read(path: string, logger: Logger): Promise<KnownManager[]> {
  try {
    const parsed: unknown = JSON.parse(await readFile(path, 'utf8'));
    return Array.isArray(parsed) ? parsed.filter(isKnownManager) : [];
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    if (!missing) logger.warn({ error: errorText(error) }, 'the kept list of managers is not readable');
    return [];
  }
}

function isKnownManager(value: unknown): value is KnownManager {
  if (typeof value !== 'object' || value === null) return false;
  const { nodeId, address } = value as Partial<KnownManager>;
  return typeof nodeId === 'string' && typeof address === 'string';
}
