import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { asNumber, asObject, asText, at, type JsonObject, parseJson } from '../client/json.ts';
import { CommandError } from '../command/errors.ts';

/**
 * Shows a stream of the engine's progress messages (pull, load, import: one JSON object a line). On a terminal the
 * lines of each layer are redrawn in place; elsewhere progress bars are left out.
 * @throws CommandError with the message of an `error` line.
 */
export async function showMessages(source: Readable, out: Writable): Promise<void> {
  const isTerminal = (out as NodeJS.WriteStream).isTTY === true;
  const rows: string[] = [];
  for await (const line of createInterface({ input: source, crlfDelay: Number.POSITIVE_INFINITY })) {
    if (line.trim() === '') continue;
    const message = asObject(parseJson(line));
    const error = asText(at(message, 'errorDetail', 'message')) || asText(message.error);
    if (error) throw new CommandError(error);
    const bar = progressText(message);
    if (bar && !isTerminal) continue;
    const id = asText(message.id);
    const text =
      message.stream === undefined
        ? `${id && `${id}: `}${asText(message.status)}${bar && ` ${bar}`}\n`
        : asText(message.stream);
    if (!isTerminal || id === '') {
      out.write(text);
      continue;
    }
    const index = rows.indexOf(id);
    const up = index < 0 ? 0 : rows.length - index;
    if (index < 0) rows.push(id);
    out.write(`${up > 0 ? `\u001b[${up}A` : ''}\r\u001b[2K${text}${up > 1 ? `\u001b[${up - 1}B` : ''}`);
  }
}

const barWidth = 50;

function progressText(message: JsonObject): string {
  const current = asNumber(at(message, 'progressDetail', 'current'));
  const total = asNumber(at(message, 'progressDetail', 'total'));
  if (current === 0 && total === 0) return '';
  if (total === 0) return asText(message.progress) || `${current}B`;
  const filled = Math.min(barWidth, Math.floor((barWidth * current) / total));
  return asText(message.progress) || `[${'='.repeat(filled)}>${' '.repeat(barWidth - filled)}]`;
}
