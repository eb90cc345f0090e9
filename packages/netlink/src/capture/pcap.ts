/**
 * The pcap file format that tcpdump and Wireshark read (draft-ietf-opsawg-pcap), with nanosecond times:
 * a file header, then for each frame a record header and its bytes.
 */
import { struct } from '../wire/struct.ts';
import type { CapturedFrame } from './packet-socket.ts';

/** The magic number of files whose fractions of a second are nanoseconds; also tells the byte order. */
const MAGIC_NANOSECONDS = 0xa1b23c4d;
const VERSION_MAJOR = 2;
const VERSION_MINOR = 4;
const LINKTYPE_ETHERNET = 1;
const DEFAULT_SNAP_LENGTH = 262_144;
const SECOND = 1_000_000_000n;

const fileHeader = struct({
  magic: 'u32',
  versionMajor: 'u16',
  versionMinor: 'u16',
  reserved1: 'u32',
  reserved2: 'u32',
  snapLength: 'u32',
  linkType: 'u32',
});
const recordHeader = struct({ seconds: 'u32', nanoseconds: 'u32', capturedLength: 'u32', originalLength: 'u32' });

/** The start of a file of Ethernet frames. */
export function pcapFileHeader(snapLength = DEFAULT_SNAP_LENGTH): Uint8Array {
  return fileHeader.encode({
    magic: MAGIC_NANOSECONDS,
    versionMajor: VERSION_MAJOR,
    versionMinor: VERSION_MINOR,
    snapLength,
    linkType: LINKTYPE_ETHERNET,
  });
}

/** One frame, header and bytes. */
export function pcapRecord({ timestamp, data, length }: CapturedFrame): Uint8Array {
  const header = recordHeader.encode({
    seconds: Number(timestamp / SECOND),
    nanoseconds: Number(timestamp % SECOND),
    capturedLength: data.length,
    originalLength: length,
  });
  return Buffer.concat([header, data]);
}

/** A whole file. */
export function encodePcap(frames: Iterable<CapturedFrame>): Uint8Array {
  return Buffer.concat([pcapFileHeader(), ...Array.from(frames, pcapRecord)]);
}
