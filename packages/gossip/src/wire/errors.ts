/** Why bytes from the wire were refused; also the name of the drop counter. */
export type WireErrorCode =
  | 'truncated'
  | 'malformed'
  | 'unsupported'
  | 'too-large'
  | 'checksum'
  | 'undecryptable'
  | 'unencrypted'
  | 'label';

/** Bytes that do not follow the protocol. `code` tells which rule they broke. */
export class WireError extends Error {
  override readonly name = 'WireError';
  readonly code: WireErrorCode;

  constructor(code: WireErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
