import type { CallOptions } from '../../client/client.ts';
import { asList, asNumber, asObject, asText, at, type Json, type JsonObject } from '../../client/json.ts';
import { type Context, command } from '../../command/command.ts';
import { CommandError } from '../../command/errors.ts';
import type { Flags } from '../../command/flags.ts';
import { keyValues } from '../each.ts';
import { environmentOf } from '../environment.ts';
import { updateFlags } from './flags.ts';
import { credentialHeaders, familiarImage, resolveDigest } from './image.ts';
import { networkId, resolveFiles, resolveNetworks } from './lookup.ts';
import { waitForService } from './progress.ts';
import { applyScalars, changedMap, inside, setList } from './scalars.ts';
import {
  hostLine,
  parseGenericResource,
  parseMount,
  parsePorts,
  parsePreference,
  parseUlimit,
  splitWords,
} from './syntax.ts';

/** Reads a service with the spec that was sent, not the one filled with defaults. */
export async function readService(context: Context, name: string): Promise<Json> {
  return await context.client.json('GET', `/services/${encodeURIComponent(name)}`, {
    query: { insertDefaults: 'false' },
  });
}

/** Sends a service's new spec. @returns the engine's warnings. */
export async function writeService(
  context: Context,
  service: Json,
  spec: JsonObject,
  { query = {}, headers = {} }: Pick<CallOptions, 'query' | 'headers'> = {},
): Promise<string[]> {
  const answer = await context.client.json('POST', `/services/${asText(at(service, 'ID'))}/update`, {
    query: { ...query, version: asNumber(at(service, 'Version', 'Index')) },
    headers,
    body: spec,
  });
  return asList(at(answer, 'Warnings')).map(asText);
}

export const update = command(
  'update [OPTIONS] SERVICE',
  'Update a service',
  updateFlags,
  async (context, flags, [name = '']) => {
    const service = await readService(context, name);
    const spec = structuredClone(asObject(at(service, 'Spec')));
    const warnings: string[] = [];
    let headers: Readonly<Record<string, string>> = {};
    if (flags.on('rollback')) checkRollback(flags);
    else {
      await applyChanges(context, flags, spec);
      const image = asText(at(spec, 'TaskTemplate', 'ContainerSpec', 'Image'));
      if (flags.on('with-registry-auth')) headers = credentialHeaders(context, image);
      if (flags.changed('image') && !flags.on('no-resolve-image'))
        warnings.push(...(await resolveDigest(context, spec, headers)));
    }
    const query = { registryAuthFrom: 'spec', ...(flags.on('rollback') && { rollback: 'previous' }) };
    warnings.push(...(await writeService(context, service, spec, { query, headers })));
    for (const warning of warnings) context.err.write(`${warning}\n`);
    context.out.write(`${name}\n`);
    if (!flags.on('detach')) await waitForService(context, name, flags.on('quiet'));
  },
);

function checkRollback(flags: Flags): void {
  const other = ['image', 'replicas', 'args', 'force', 'env-add', 'label-add'].find((name) => flags.changed(name));
  if (other) throw new CommandError(`other flags may not be combined with --rollback`);
}

export const rollback = command(
  'rollback [OPTIONS] SERVICE',
  "Revert changes to a service's configuration",
  `
  -d, --detach  Exit immediately instead of waiting for the service to converge
  -q, --quiet   Suppress progress output
  `,
  async (context, flags, [name = '']) => {
    const service = await readService(context, name);
    const query = { rollback: 'previous' };
    for (const warning of await writeService(context, service, asObject(at(service, 'Spec')), { query }))
      context.err.write(`${warning}\n`);
    context.out.write(`${name}\n`);
    if (!flags.on('detach')) await waitForService(context, name, flags.on('quiet'));
  },
);

async function applyChanges(context: Context, flags: Flags, spec: JsonObject): Promise<void> {
  const template = inside(spec, 'TaskTemplate');
  const container = inside(template, 'ContainerSpec');
  applyScalars(spec, flags);
  if (flags.changed('image')) container.Image = familiarImage(flags.text('image'));
  if (flags.changed('args')) container.Args = splitWords(flags.text('args'));
  if (flags.on('force')) template.ForceUpdate = asNumber(template.ForceUpdate) + 1;
  if (flags.changed('replicas')) setReplicas(spec, flags.number('replicas'));
  if (flags.changed('max-concurrent'))
    inside(spec, 'Mode', 'ReplicatedJob').MaxConcurrent = flags.number('max-concurrent');
  applyMaps(spec, container, flags);
  applyEnvironment(context, container, flags);
  applyLists(template, container, flags);
  applyPorts(spec, flags);
  await applyReferences(context, template, container, flags);
}

/** Sets the number of a replicated service's tasks, or a job's completions. */
export function setReplicas(spec: JsonObject, count: number): void {
  const mode = asObject(spec.Mode);
  if (mode.Replicated) inside(spec, 'Mode', 'Replicated').Replicas = count;
  else if (mode.ReplicatedJob) inside(spec, 'Mode', 'ReplicatedJob').TotalCompletions = count;
  else throw new CommandError('replicas can only be used with replicated mode');
}

function applyMaps(spec: JsonObject, container: JsonObject, flags: Flags): void {
  const change = (object: JsonObject, field: string, flag: string) => {
    if (!flags.changed(`${flag}-add`) && !flags.changed(`${flag}-rm`)) return;
    object[field] = changedMap(object[field], flags.list(`${flag}-add`), flags.list(`${flag}-rm`));
  };
  change(spec, 'Labels', 'label');
  change(container, 'Labels', 'container-label');
  change(container, 'Sysctls', 'sysctl');
}

function applyEnvironment(context: Context, container: JsonObject, flags: Flags): void {
  if (!['env-add', 'env-rm', 'env-file'].some((flag) => flags.changed(flag))) return;
  const variables = keyValues([...asList(container.Env).map(asText), ...environmentOf(context, flags, 'env-add')]);
  for (const name of flags.list('env-rm')) delete variables[name];
  container.Env = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
}

/** The parts of a spec that are lists: how to read an added item, and which words name an item for removal. */
function applyLists(template: JsonObject, container: JsonObject, flags: Flags): void {
  const change = <Item extends Json>(
    object: JsonObject,
    field: string,
    flag: string,
    read: (text: string) => Item,
    keyOf: (item: Json) => string,
    removalKey: (text: string) => string = (text) => text,
  ) => {
    if (!flags.changed(`${flag}-add`) && !flags.changed(`${flag}-rm`)) return;
    const items = new Map(asList(object[field]).map((item) => [keyOf(item), item]));
    for (const text of flags.list(`${flag}-rm`)) items.delete(removalKey(text));
    for (const item of flags.list(`${flag}-add`).map(read)) items.set(keyOf(item), item);
    setList(object, field, [...items.values()]);
  };
  const same = (text: string) => text;
  const names = inside(container, 'DNSConfig');
  const placement = inside(template, 'Placement');
  change(placement, 'Constraints', 'constraint', same, asText);
  const descriptor = (item: Json) => asText(at(item, 'Spread', 'SpreadDescriptor'));
  change(placement, 'Preferences', 'placement-pref', parsePreference, descriptor, (text) =>
    descriptor(parsePreference(text)),
  );
  const kind = (item: Json) =>
    asText(at(item, 'DiscreteResourceSpec', 'Kind')) || asText(at(item, 'NamedResourceSpec', 'Kind'));
  const reservations = inside(template, 'Resources', 'Reservations');
  change(reservations, 'GenericResources', 'generic-resource', parseGenericResource, kind);
  change(container, 'Groups', 'group', same, asText);
  change(names, 'Nameservers', 'dns', same, asText);
  change(names, 'Options', 'dns-option', same, asText);
  change(names, 'Search', 'dns-search', same, asText);
  change(container, 'Hosts', 'host', hostLine, asText, hostLine);
  change(container, 'Mounts', 'mount', parseMount, (item) => asText(at(item, 'Target')));
  change(container, 'Ulimits', 'ulimit', parseUlimit, (item) => asText(at(item, 'Name')));
}

function applyPorts(spec: JsonObject, flags: Flags): void {
  if (!flags.changed('publish-add') && !flags.changed('publish-rm')) return;
  const endpoint = inside(spec, 'EndpointSpec');
  const key = (port: Json) => `${asNumber(at(port, 'TargetPort'))}/${asText(at(port, 'Protocol')) || 'tcp'}`;
  const removed = new Set(flags.list('publish-rm').flatMap(parsePorts).map(key));
  const added = flags.list('publish-add').flatMap(parsePorts);
  const whole = (port: Json) =>
    `${key(port)} ${asNumber(at(port, 'PublishedPort'))} ${asText(at(port, 'PublishMode'))}`;
  const ports = new Map(
    [...asList(endpoint.Ports).filter((port) => !removed.has(key(port))), ...added].map((port) => [whole(port), port]),
  );
  const sorted = [...ports.values()].sort(
    (left, right) => asNumber(at(left, 'PublishedPort')) - asNumber(at(right, 'PublishedPort')),
  );
  setList(endpoint, 'Ports', sorted);
}

async function applyReferences(
  context: Context,
  template: JsonObject,
  container: JsonObject,
  flags: Flags,
): Promise<void> {
  if (flags.changed('network-add') || flags.changed('network-rm')) {
    const removed = await Promise.all(flags.list('network-rm').map((name) => networkId(context, name)));
    const kept = asList(template.Networks).filter((network) => !removed.includes(asText(at(network, 'Target'))));
    const added = await resolveNetworks(context, flags.list('network-add'));
    for (const network of added) {
      if (kept.some((other) => at(other, 'Target') === network.Target))
        throw new CommandError(`service is already attached to network ${asText(network.Target)}`);
    }
    const networks = [...kept, ...added].sort((left, right) =>
      asText(at(left, 'Target')) < asText(at(right, 'Target')) ? -1 : 1,
    );
    setList(template, 'Networks', networks);
  }
  for (const kind of ['Secret', 'Config'] as const) {
    const flag = kind.toLowerCase();
    if (!flags.changed(`${flag}-add`) && !flags.changed(`${flag}-rm`)) continue;
    const removed = flags.list(`${flag}-rm`);
    const kept = asList(container[`${kind}s`]).filter((item) => !removed.includes(asText(at(item, `${kind}Name`))));
    const files = [...kept, ...(await resolveFiles(context, flags.list(`${flag}-add`), kind))];
    setList(container, `${kind}s`, files);
  }
}
