/** What a dockerd 20.10 in a two-node swarm answered to the same requests (dockerd-20.10/), as golden data. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export type Json = Record<string, unknown>;

const directory = join(import.meta.dirname, 'dockerd-20.10');

export function readReference(name: string): unknown {
  return JSON.parse(readFileSync(join(directory, `${name}.json`), 'utf8'));
}

/** One request and answer of errors.txt: `manager: POST /x {body} -> {answer} [status]`. */
export interface ReferenceError {
  readonly role: 'manager' | 'worker';
  readonly method: string;
  readonly path: string;
  readonly body: string;
  readonly answer: string;
  readonly status: number;
}

export function readReferenceErrors(): ReferenceError[] {
  return readFileSync(join(directory, 'errors.txt'), 'utf8')
    .split('\n')
    .flatMap((line) => {
      const match = /^(manager|worker): (\w+) (\S+) (.*)-> (.*) \[(\d+)\]$/.exec(line);
      if (match === null) return [];
      const [, role, method = '', path = '', body = '', answer = '', status] = match;
      return [{ role: role as 'manager' | 'worker', method, path, body: body.trim(), answer, status: Number(status) }];
    });
}

const images = readReference('images') as Json[];
const swarm = readReference('swarm') as { TLSInfo: { TrustRoot: string } };

export const reference = {
  containerInspect: readReference('container-inspect') as Json,
  imageInspect: readReference('image-inspect') as Json,
  imageSummary: images[0] ?? {},
  caCertificate: swarm.TLSInfo.TrustRoot,
};
