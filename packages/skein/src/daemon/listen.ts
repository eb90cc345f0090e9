/** Where the API listens, from `--host` flags. */

/** What the flags say. */
export interface ListenAddresses {
  readonly socketPath: string;
  readonly tcp?: { readonly host: string; readonly port: number };
}

/** Docker's port for an unencrypted API. */
const defaultTcpPort = 2375;

/**
 * @param hosts `unix:///path` and `tcp://host:port`, at most one of each; TCP only on loopback, as it knows no users.
 * @throws Error naming the flag that is none of these.
 */
export function listenAddresses(hosts: readonly string[]): ListenAddresses {
  let socketPath: string | undefined;
  let tcp: ListenAddresses['tcp'];
  for (const host of hosts) {
    const url = URL.canParse(host) ? new URL(host) : undefined;
    if (url?.protocol === 'unix:' && url.pathname !== '' && socketPath === undefined) socketPath = url.pathname;
    else if (url?.protocol === 'tcp:' && isLoopback(url.hostname) && tcp === undefined)
      tcp = { host: url.hostname, port: Number(url.port || defaultTcpPort) };
    else throw new Error(`invalid --host ${host}: use unix:///path/of.sock once and tcp://127.0.0.1:port once`);
  }
  if (socketPath === undefined) throw new Error('no unix socket to listen on: add --host unix:///run/skein.sock');
  return { socketPath, ...(tcp ? { tcp } : {}) };
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host);
}
