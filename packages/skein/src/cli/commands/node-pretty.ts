import { asList, asNumber, asObject, asText, asTexts, at, type JsonObject } from '../client/json.ts';
import { bytesSize, goTime } from '../output/index.ts';

const title = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);
const nanosPerCpu = 1e9;

/** `node inspect --pretty`. */
export function prettyNode(node: JsonObject): string {
  const description = asObject(node.Description);
  const status = asObject(node.Status);
  const lines = [`ID:\t\t\t${asText(node.ID)}`];
  const name = asText(at(node, 'Spec', 'Name'));
  if (name) lines.push(`Name:\t\t\t${name}`);
  lines.push(...labelLines('Labels:', asTexts(at(node, 'Spec', 'Labels'))));
  lines.push(`Hostname:              \t${asText(description.Hostname)}`);
  lines.push(`Joined at:             \t${goTime(asText(node.CreatedAt)).toLowerCase()}`);
  lines.push('Status:', ` State:\t\t\t${title(asText(status.State))}`);
  if (asText(status.Message)) lines.push(` Message:\t\t${title(asText(status.Message))}`);
  lines.push(` Availability:         \t${title(asText(at(node, 'Spec', 'Availability')))}`);
  if (asText(status.Addr)) lines.push(` Address:\t\t${asText(status.Addr)}`);
  lines.push(...managerLines(node));
  lines.push('Platform:', ` Operating System:\t${asText(at(description, 'Platform', 'OS'))}`);
  lines.push(` Architecture:\t\t${asText(at(description, 'Platform', 'Architecture'))}`, 'Resources:');
  lines.push(` CPUs:\t\t\t${Math.trunc(asNumber(at(description, 'Resources', 'NanoCPUs')) / nanosPerCpu)}`);
  lines.push(` Memory:\t\t${bytesSize(asNumber(at(description, 'Resources', 'MemoryBytes')))}`);
  lines.push(...engineLines(asObject(description.Engine)), ...tlsLines(asObject(description.TLSInfo)));
  return `${lines.join('\n')}\n`;
}

function managerLines(node: JsonObject): string[] {
  const manager = asObject(node.ManagerStatus);
  if (Object.keys(manager).length === 0) return [];
  return [
    'Manager Status:',
    ` Address:\t\t${asText(manager.Addr)}`,
    ` Raft Status:\t\t${title(asText(manager.Reachability))}`,
    ` Leader:\t\t${manager.Leader === true ? 'Yes' : 'No'}`,
  ];
}

function engineLines(engine: JsonObject): string[] {
  const byType = new Map<string, string[]>();
  for (const plugin of asList(engine.Plugins).map(asObject)) {
    const type = asText(plugin.Type);
    byType.set(type, [...(byType.get(type) ?? []), asText(plugin.Name)]);
  }
  const plugins = [...byType].sort(([left], [right]) => (left < right ? -1 : 1));
  return [
    ...(plugins.length > 0 ? ['Plugins:', ...plugins.map(([type, names]) => ` ${type}:\t\t${names.join(', ')}`)] : []),
    `Engine Version:\t\t${asText(engine.EngineVersion)}`,
    ...labelLines('Engine Labels:', asTexts(engine.Labels)),
  ];
}

function tlsLines(info: JsonObject): string[] {
  if (!asText(info.TrustRoot)) return [];
  return [
    'TLS Info:',
    ' TrustRoot:',
    asText(info.TrustRoot),
    ` Issuer Subject:\t${asText(info.CertIssuerSubject)}`,
    ` Issuer Public Key:\t${asText(info.CertIssuerPublicKey)}`,
  ];
}

function labelLines(heading: string, labels: Readonly<Record<string, string>>): string[] {
  const entries = Object.entries(labels);
  return entries.length === 0 ? [] : [heading, ...entries.map(([key, value]) => ` - ${key}${value && `=${value}`}`)];
}
