/** The unix socket: whose it is, and who may use it. */
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, unlinkSync } from 'node:fs';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { SkeinError } from '../common/index.ts';

/** Mode and group of the socket, as dockerd's. */
const socketMode = 0o660;
const socketGroup = 'docker';

/** Removes the socket that a dead daemon left, never that of a living one. */
export async function claimSocket(path: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true });
  if (!existsSync(path)) return;
  const answered = await new Promise<boolean>((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => resolve(true)).once('error', () => resolve(false));
    probe.once('close', () => probe.removeAllListeners());
    probe.once('connect', () => probe.destroy());
  });
  if (answered) throw new SkeinError('FailedPrecondition', `another daemon listens on ${path}: stop it first`);
  unlinkSync(path);
}

/** Opens the socket to its group, as dockerd does. */
export function shareSocket(path: string): void {
  chmodSync(path, socketMode);
  const group = groupId(socketGroup);
  if (group !== undefined) chownSync(path, 0, group);
}

function groupId(name: string): number | undefined {
  const line = existsSync('/etc/group')
    ? readFileSync('/etc/group', 'utf8')
        .split('\n')
        .find((entry) => entry.startsWith(`${name}:`))
    : undefined;
  const id = line?.split(':')[2];
  return id === undefined ? undefined : Number(id);
}

/** @throws errors of listen(2). */
export function listen(server: Server, where: { path: string } | { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => {
      server.off('error', reject);
      resolve();
    });
  });
}
