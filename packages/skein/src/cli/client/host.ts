import { CommandError } from '../command/errors.ts';

/** Where the daemon listens when nobody says otherwise. */
export const defaultHost = 'unix:///run/skein.sock';
const defaultTcpPort = 2375;

/** An engine's address: a unix socket or a TCP port. */
export type Host =
  | { readonly kind: 'unix'; readonly socketPath: string; readonly text: string }
  | { readonly kind: 'tcp'; readonly address: string; readonly port: number; readonly text: string };

/**
 * @returns the engine's address: the `-H` flag, else SKEIN_HOST, else DOCKER_HOST, else the daemon's default socket.
 * @throws CommandError if it is no address.
 */
export function resolveHost(flag: string, environment: Readonly<Record<string, string | undefined>>): Host {
  const text = flag || environment.SKEIN_HOST || environment.DOCKER_HOST || defaultHost;
  if (text.startsWith('unix://')) return { kind: 'unix', socketPath: text.slice('unix://'.length), text };
  const match = /^tcp:\/\/(\[[^\]]+\]|[^:/]*)(?::(\d+))?\/?$/.exec(text);
  if (!match) throw new CommandError(`invalid engine address ${text}: use unix:///path/to.sock or tcp://host:port`);
  const address = (match[1] ?? '').replace(/^\[|\]$/g, '') || '127.0.0.1';
  return { kind: 'tcp', address, port: Number(match[2] ?? defaultTcpPort), text };
}
