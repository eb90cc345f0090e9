import { isIPv4, isIPv6 } from 'node:net';
import { CommandError } from './errors.ts';
import { parseBytes, parseDecimal, parseDuration } from './units.ts';

const checks: Record<string, (text: string) => void> = {
  bool: (text) => {
    if (!/^(1|0|t|f|T|F|true|false|TRUE|FALSE|True|False)$/.test(text)) throw syntaxError('ParseBool', text);
  },
  int: (text) => {
    if (!/^[+-]?\d+$/.test(text)) throw syntaxError('ParseInt', text);
  },
  uint: checkUnsigned,
  uint32: checkUnsigned,
  float: (text) => {
    if (text === '' || Number.isNaN(Number(text))) throw syntaxError('ParseFloat', text);
  },
  duration: (text) => void parseDuration(text),
  bytes: (text) => void parseBytes(text),
  decimal: (text) => void parseDecimal(text),
  filter: (text) => {
    if (text !== '' && !text.includes('=')) throw new CommandError('bad format of filter (expected name=value)');
  },
  map: (text) => {
    if (!text.includes('=')) throw new CommandError(`${text} must be formatted as key=value`);
  },
  ipNetSlice: (text) => {
    const [address = '', length = ''] = text.split('/');
    const bits = isIPv4(address) ? 32 : isIPv6(address) ? 128 : -1;
    if (!/^\d+$/.test(length) || Number(length) > bits) {
      throw new CommandError(`invalid string being converted to CIDR: ${text}`);
    }
  },
};

/** Lets a room of commands add the kinds whose grammar it owns (`mount`, `port`, …). */
export function addValueKind(kind: string, check: (text: string) => void): void {
  checks[kind] = check;
}

/** @throws CommandError in Go's or Docker's words if the text is no value of this kind. */
export function checkValue(kind: string, text: string): void {
  checks[kind]?.(text);
}

function checkUnsigned(text: string): void {
  if (!/^\d+$/.test(text)) throw syntaxError('ParseUint', text);
}

/** strconv.NumError's text. */
export function syntaxError(parser: string, text: string): CommandError {
  return new CommandError(`strconv.${parser}: parsing ${JSON.stringify(text)}: invalid syntax`);
}
