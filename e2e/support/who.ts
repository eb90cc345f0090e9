/**
 * Who asks? `node who.ts serve <port> [address]` answers each question over TCP and UDP, at all addresses of IPv4 or at
 * the one that is given (`::` for both families), with the address that it came from; `node who.ts ask <address> <port>` prints the two answers as a JSON object, a Seen.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, isIPv6 } from 'node:net';

/** The asking client's address as the server saw it, or what went wrong. */
export interface Seen {
  readonly tcp: string;
  readonly udp: string;
}

const answerTimeoutMs = 3000;
/** A datagram that gets lost is sent again. */
const datagramAttempts = 3;

async function serve(port: number, address: string): Promise<void> {
  const server = createServer((connection) => {
    connection.on('error', () => undefined);
    connection.end(plain(connection.remoteAddress ?? 'nobody'));
  });
  server.listen(port, address);
  await once(server, 'listening');
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
  socket.on('message', (_data, { address: who, port: from }) => socket.send(plain(who), from, who));
  socket.bind(port, address);
  await once(socket, 'listening');
  process.stdout.write('ready\n');
}

/** A client of IPv4 as a socket of both families sees it. */
const plain = (address: string): string => address.replace(/^::ffff:/, '');

async function askTcp(address: string, port: number): Promise<string> {
  const connection = connect(port, address);
  const signal = AbortSignal.timeout(answerTimeoutMs);
  const [data] = (await once(connection, 'data', { signal })) as [Buffer];
  connection.destroy();
  return data.toString();
}

async function askUdp(address: string, port: number): Promise<string> {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
  try {
    for (let attempt = 1; ; attempt++) {
      socket.send('who?', port, address);
      const answer = once(socket, 'message', { signal: AbortSignal.timeout(answerTimeoutMs / datagramAttempts) });
      const [data] = (await answer.catch((error: unknown) => {
        if (attempt === datagramAttempts) throw error;
        return [];
      })) as [Buffer?];
      if (data) return data.toString();
    }
  } finally {
    socket.close();
  }
}

async function ask(address: string, port: number): Promise<Seen> {
  const [tcp, udp] = await Promise.all(
    [askTcp, askUdp].map((question) =>
      question(address, port).catch((error: NodeJS.ErrnoException) => error.code ?? error.message),
    ),
  );
  return { tcp: tcp ?? '', udp: udp ?? '' };
}

if (import.meta.main) {
  const [command, ...words] = process.argv.slice(2);
  if (command === 'serve') await serve(Number(words[0]), words[1] ?? '0.0.0.0');
  else process.stdout.write(`${JSON.stringify(await ask(words[0] ?? '', Number(words[1])))}\n`);
}
