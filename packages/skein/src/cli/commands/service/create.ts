import { asText, at, type JsonObject } from '../../client/json.ts';
import { type Context, command } from '../../command/command.ts';
import { CommandError } from '../../command/errors.ts';
import type { Flags } from '../../command/flags.ts';
import { keyValues } from '../each.ts';
import { environmentOf } from '../environment.ts';
import { createFlags } from './flags.ts';
import { credentialHeaders, familiarImage, resolveDigest } from './image.ts';
import { resolveFiles, resolveNetworks } from './lookup.ts';
import { waitForService } from './progress.ts';
import { applyScalars, inside } from './scalars.ts';
import { hostLine, parseGenericResource, parseMount, parsePorts, parsePreference, parseUlimit } from './syntax.ts';

/** `service create`. */
export const create = command(
  'create [OPTIONS] IMAGE [COMMAND] [ARG...]',
  'Create a new service',
  createFlags,
  async (context, flags, [image = '', ...words]) => {
    const spec = await createSpec(context, flags, familiarImage(image), words);
    const headers = flags.on('with-registry-auth') ? credentialHeaders(context, image) : {};
    const warnings = flags.on('no-resolve-image') ? [] : await resolveDigest(context, spec, headers);
    const created = await context.client.json('POST', '/services/create', { headers, body: spec });
    for (const warning of [...warnings, ...((at(created, 'Warnings') ?? []) as string[])])
      context.err.write(`${warning}\n`);
    const id = asText(at(created, 'ID'));
    context.out.write(`${id}\n`);
    if (!flags.on('detach')) await waitForService(context, id, flags.on('quiet'));
  },
  { interspersed: false },
);

async function createSpec(
  context: Context,
  flags: Flags,
  image: string,
  words: readonly string[],
): Promise<JsonObject> {
  const spec: JsonObject = {
    Name: flags.text('name'),
    Labels: keyValues(flags.list('label')),
    TaskTemplate: {
      ContainerSpec: { Image: image, ...(words.length > 0 && { Args: [...words] }), Init: false, DNSConfig: {} },
      Resources: { Limits: {}, Reservations: {} },
      Placement: {},
      ForceUpdate: 0,
    },
    Mode: modeOf(flags),
    EndpointSpec: { Mode: flags.text('endpoint-mode') },
  };
  applyScalars(spec, flags);
  applyLists(spec, context, flags);
  const networks = await resolveNetworks(context, flags.list('network'));
  if (networks.length > 0) inside(spec, 'TaskTemplate').Networks = networks;
  const container = inside(spec, 'TaskTemplate', 'ContainerSpec');
  if (flags.changed('secret')) container.Secrets = await resolveFiles(context, flags.list('secret'), 'Secret');
  if (flags.changed('config')) container.Configs = await resolveFiles(context, flags.list('config'), 'Config');
  return spec;
}

/** The flags that may be repeated. */
function applyLists(spec: JsonObject, context: Context, flags: Flags): void {
  const container = inside(spec, 'TaskTemplate', 'ContainerSpec');
  const environment = environmentOf(context, flags, 'env');
  if (environment.length > 0) container.Env = environment;
  if (flags.changed('container-label')) container.Labels = keyValues(flags.list('container-label'));
  if (flags.changed('group')) container.Groups = flags.list('group');
  if (flags.changed('mount')) container.Mounts = flags.list('mount').map(parseMount);
  if (flags.changed('host')) container.Hosts = flags.list('host').map(hostLine);
  if (flags.changed('sysctl')) container.Sysctls = keyValues(flags.list('sysctl'));
  if (flags.changed('ulimit')) container.Ulimits = flags.list('ulimit').map(parseUlimit);
  const names = inside(container, 'DNSConfig');
  if (flags.changed('dns')) names.Nameservers = flags.list('dns');
  if (flags.changed('dns-search')) names.Search = flags.list('dns-search');
  if (flags.changed('dns-option')) names.Options = flags.list('dns-option');
  const placement = inside(spec, 'TaskTemplate', 'Placement');
  if (flags.changed('constraint')) placement.Constraints = flags.list('constraint');
  if (flags.changed('placement-pref')) placement.Preferences = flags.list('placement-pref').map(parsePreference);
  if (flags.changed('generic-resource')) {
    inside(spec, 'TaskTemplate', 'Resources', 'Reservations').GenericResources = flags
      .list('generic-resource')
      .map(parseGenericResource);
  }
  if (flags.changed('publish')) inside(spec, 'EndpointSpec').Ports = flags.list('publish').flatMap(parsePorts);
}

function modeOf(flags: Flags): JsonObject {
  const mode = flags.text('mode');
  const replicas = flags.changed('replicas');
  if (mode.startsWith('global')) {
    if (replicas) throw new CommandError('replicas can only be used with replicated or replicated-job mode');
    if (flags.number('replicas-max-per-node') > 0)
      throw new CommandError('replicas-max-per-node can only be used with replicated or replicated-job mode');
    if (flags.changed('max-concurrent'))
      throw new CommandError('max-concurrent can only be used with replicated-job mode');
  }
  const count = replicas ? flags.number('replicas') : 1;
  switch (mode) {
    case 'global':
      return { Global: {} };
    case 'global-job':
      return { GlobalJob: {} };
    case 'replicated':
      if (flags.changed('max-concurrent'))
        throw new CommandError('max-concurrent can only be used with replicated-job mode');
      return { Replicated: { Replicas: count } };
    case 'replicated-job':
      return {
        ReplicatedJob: {
          MaxConcurrent: flags.changed('max-concurrent') ? flags.number('max-concurrent') : count,
          TotalCompletions: count,
        },
      };
    default:
      throw new CommandError(`Unknown mode: ${mode}, only replicated and global supported`);
  }
}
