import { asNumber, asText, type JsonObject } from '../client/json.ts';

/** @returns a service's or task's port as docker lists it: `*:8080->80/tcp`. */
export function portText(port: JsonObject): string {
  const published = asNumber(port.PublishedPort);
  const target = `${asNumber(port.TargetPort)}/${asText(port.Protocol) || 'tcp'}`;
  return published === 0 ? target : `*:${published}->${target}`;
}
