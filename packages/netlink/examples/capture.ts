/** Captures what crosses a namespace's loopback and writes a file that tcpdump and Wireshark read. Run as root. */
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodePcap, NetworkNamespace, PacketSocket, udpSocketIn } from '@skein/netlink';

const path = `/run/netlink-example-${process.pid}-captured`;
using cleanup = new DisposableStack();
cleanup.defer(() => NetworkNamespace.delete(path));
const namespace = cleanup.use(NetworkNamespace.create(path, { loopback: true }));
const folder = mkdtempSync(join(tmpdir(), 'capture-'));
cleanup.defer(() => rmSync(folder, { recursive: true }));

using capture = PacketSocket.open(namespace, 'lo');
const sender = await udpSocketIn(namespace, { address: '127.0.0.1', port: 0 });
await new Promise((resolve) => sender.send('to be seen', 9, '127.0.0.1', resolve));
sender.close();

const frames = capture.drain();
for (const { direction, length } of frames) console.log(`${direction} ${length} bytes`);
const file = join(folder, 'lo.pcap');
writeFileSync(file, encodePcap(frames));
console.log(`${statSync(file).size} bytes written, ${capture.dropped} frames dropped`);
