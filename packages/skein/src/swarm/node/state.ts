/** What a node remembers of its membership on disk, besides its certificates. */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { writeAtomically } from '../identity/index.ts';

const hostPort = z.object({ host: z.string(), port: z.number() });
const schema = z.object({
  role: z.enum(['manager', 'worker']),
  addresses: z.object({ listen: hostPort, advertise: hostPort, dataPath: z.string() }),
  /** Managers that the node joined by, `host:port`. */
  managers: z.array(z.string()),
});

/** A node's membership. */
export type MembershipState = z.infer<typeof schema>;

const stateFile = 'node.json';
const privateMode = 0o600;

/** @returns the membership on disk; undefined when the node is in no swarm. @throws Error naming a file that is not one. */
export function readMembership(directory: string): MembershipState | undefined {
  const file = join(directory, stateFile);
  if (!existsSync(file)) return undefined;
  try {
    return schema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch (error) {
    throw new Error(`${file} is damaged: restore it from a backup, or remove ${directory} and join again`, {
      cause: error,
    });
  }
}

/** Remembers the membership, durably. */
export async function writeMembership(directory: string, state: MembershipState): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeAtomically(join(directory, stateFile), JSON.stringify(state), privateMode);
}

/** Forgets the swarm: membership first, so that a crash in between leaves no half member, then everything else. */
export async function removeMembership(directory: string): Promise<void> {
  await rm(join(directory, stateFile), { force: true });
  try {
    await rm(directory, { recursive: true, force: true });
  } catch (error) {
    // A file system of its own may be mounted there: it is empty now, and stays.
    if ((error as NodeJS.ErrnoException).code !== 'EBUSY') throw error;
  }
}
