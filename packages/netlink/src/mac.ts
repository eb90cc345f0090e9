/** Ethernet addresses: 'aa:bb:cc:dd:ee:ff' ↔ 6 bytes. */

/** Text → bytes; accepts ':' or '-' between the octets. Throws TypeError. */
export function parseMac(text: string): Uint8Array {
  if (!/^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i.test(text)) throw new TypeError(`not a MAC address: '${text}'`);
  return Uint8Array.from(text.split(/[:-]/), (octet) => Number.parseInt(octet, 16));
}

/** Bytes → lower-case text (any length: tunnels without Ethernet have link addresses of 4 or 16 bytes). */
export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, (octet) => octet.toString(16).padStart(2, '0')).join(':');
}
