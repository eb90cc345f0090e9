import { asNumber, asText, type JsonObject } from '../../client/json.ts';

interface Run {
  readonly address: string;
  readonly protocol: string;
  readonly publicFirst: number;
  readonly privateFirst: number;
  length: number;
}

/**
 * @returns a container's ports as `docker ps` shows them: neighbours joined to ranges,
 * `0.0.0.0:8080->80/tcp, 443/tcp, 9000-9001/udp`.
 */
export function portsText(ports: readonly JsonObject[]): string {
  const sorted = [...ports].sort(
    (left, right) =>
      asNumber(left.PrivatePort) - asNumber(right.PrivatePort) ||
      compare(asText(left.IP), asText(right.IP)) ||
      asNumber(left.PublicPort) - asNumber(right.PublicPort) ||
      compare(asText(left.Type), asText(right.Type)),
  );
  const runs: Run[] = [];
  for (const port of sorted) {
    const next = runOf(port);
    const previous = runs.find((run) => follows(run, next));
    if (previous) previous.length++;
    else runs.push(next);
  }
  return runs.map(runText).join(', ');
}

function runOf(port: JsonObject): Run {
  return {
    address: asText(port.IP),
    protocol: asText(port.Type),
    publicFirst: asNumber(port.PublicPort),
    privateFirst: asNumber(port.PrivatePort),
    length: 1,
  };
}

function follows(run: Run, next: Run): boolean {
  return (
    run.address === next.address &&
    run.protocol === next.protocol &&
    run.privateFirst + run.length === next.privateFirst &&
    (run.publicFirst === 0 ? next.publicFirst === 0 : run.publicFirst + run.length === next.publicFirst)
  );
}

function runText({ address, protocol, publicFirst, privateFirst, length }: Run): string {
  const range = (first: number) => (length === 1 ? `${first}` : `${first}-${first + length - 1}`);
  const target = `${range(privateFirst)}/${protocol}`;
  if (publicFirst === 0) return target;
  const host = address.includes(':') ? `[${address}]` : address;
  return `${host ? `${host}:` : ''}${range(publicFirst)}->${target}`;
}

function compare(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}
