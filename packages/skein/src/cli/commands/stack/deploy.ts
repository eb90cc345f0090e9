/** `stack deploy`: networks, secrets, configs and services of a stack are made, or brought to what the files say. */
import { EngineError } from '../../client/client.ts';
import { asList, asObject, asText, at, type Json, type JsonObject } from '../../client/json.ts';
import type { Context } from '../../command/command.ts';
import { CommandError } from '../../command/errors.ts';
import type { Flags } from '../../command/flags.ts';
import { filterQuery } from '../filters.ts';
import { credentialHeaders, familiarImage, resolveDigest } from '../service/image.ts';
import { waitForService } from '../service/progress.ts';
import { inside } from '../service/scalars.ts';
import { writeService } from '../service/update.ts';
import { loadStack } from './compose/load.ts';
import type { ComposeFile, FileReference } from './compose/schema.ts';
import { fileSpec, isUserDefined, networkName, networkRequest, usedNetworks } from './convert/objects.ts';
import { scoped } from './convert/scope.ts';
import { imageLabel, type References, serviceSpec } from './convert/service.ts';
import { labelled, nameOf } from './objects.ts';

/** Reads the files of `--compose-file` and deploys them as `stack`. @throws CommandError in docker's words. */
export async function deployStack(context: Context, flags: Flags, stack: string): Promise<void> {
  const file = await loadStack(context, flags.list('compose-file'));
  const resolveImage = flags.text('resolve-image');
  if (!['always', 'changed', 'never'].includes(resolveImage))
    throw new CommandError(`Invalid option ${resolveImage} for flag --resolve-image`);
  if (!flags.changed('detach'))
    context.err.write(
      'Since --detach=false was not specified, tasks will be created in the background.\n' +
        'In a future release, --detach=false will become the default.\n',
    );
  const deployment = new Deployment(context, flags, stack, file);
  await deployment.checkManager();
  if (flags.on('prune')) await deployment.prune();
  await deployment.makeNetworks();
  await deployment.makeFiles('secret');
  await deployment.makeFiles('config');
  const services = await deployment.deployServices();
  if (!flags.on('detach')) await waitForAll(context, services, flags.on('quiet'));
}

async function waitForAll(context: Context, services: readonly string[], quiet: boolean): Promise<void> {
  const failures: string[] = [];
  for (const service of services) {
    try {
      await waitForService(context, service, quiet);
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      failures.push(`${service}: ${error.message}`);
    }
  }
  if (failures.length > 0) throw new CommandError(failures.join('\n'));
}

class Deployment {
  readonly #context: Context;
  readonly #flags: Flags;
  readonly #stack: string;
  readonly #file: ComposeFile;

  constructor(context: Context, flags: Flags, stack: string, file: ComposeFile) {
    this.#context = context;
    this.#flags = flags;
    this.#stack = stack;
    this.#file = file;
  }

  /** A worker would refuse the first network with words that do not say why. */
  async checkManager(): Promise<void> {
    if (at(await this.#context.client.json('GET', '/info'), 'Swarm', 'ControlAvailable') === true) return;
    throw new CommandError(
      'this node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again',
    );
  }

  /** Removes the services that the files do not name. */
  async prune(): Promise<void> {
    const kept = new Set(Object.keys(this.#file.services).map((name) => scoped(this.#stack, name)));
    for (const service of await labelled(this.#context, '/services', this.#stack)) {
      if (kept.has(nameOf(service))) continue;
      this.#say(`Removing service ${nameOf(service)}`);
      await this.#context.client.text('DELETE', `/services/${asText(service.ID)}`);
    }
  }

  async makeNetworks(): Promise<void> {
    const { networks } = this.#file;
    const used = usedNetworks(this.#file);
    for (const key of used) if (networks[key]?.external?.external) await this.#checkExternal(networks[key].name ?? key);
    const existing = new Set((await labelled(this.#context, '/networks', this.#stack)).map(nameOf));
    for (const key of used) {
      const name = networkName(this.#stack, key, networks[key]);
      if (networks[key]?.external?.external || existing.has(name)) continue;
      this.#say(`Creating network ${name}`);
      const body = networkRequest(this.#stack, key, networks[key]);
      await this.#do(`create network ${name}`, 'POST', '/networks/create', { body });
    }
  }

  /** Networks that docker makes itself are on every node. */
  async #checkExternal(name: string): Promise<void> {
    if (!isUserDefined(name)) return;
    const network = await this.#find(`/networks/${encodeURIComponent(name)}`);
    const declared = `network ${JSON.stringify(name)} is declared as external, but`;
    if (network === undefined)
      throw new CommandError(
        `${declared} could not be found. You need to create a swarm-scoped network before the stack is deployed`,
      );
    const scope = asText(at(network, 'Scope'));
    if (scope !== 'swarm')
      throw new CommandError(`${declared} it is not in the right scope: ${JSON.stringify(scope)} instead of "swarm"`);
  }

  /** Makes the secrets or configs; of those that are there only the labels can change. */
  async makeFiles(kind: 'secret' | 'config'): Promise<void> {
    for (const [key, item] of Object.entries(this.#file[`${kind}s`])) {
      if (item.external?.external) continue;
      const spec = fileSpec(this.#stack, key, item);
      const name = asText(spec.Name);
      const found = await this.#find(`/${kind}s/${encodeURIComponent(name)}`);
      if (found !== undefined) {
        const options = { query: { version: asText(at(found, 'Version', 'Index')) }, body: spec };
        await this.#do(`update ${kind} ${name}`, 'POST', `/${kind}s/${asText(at(found, 'ID'))}/update`, options);
        continue;
      }
      this.#say(`Creating ${kind} ${name}`);
      await this.#do(`create ${kind} ${name}`, 'POST', `/${kind}s/create`, { body: spec });
    }
  }

  /** @returns the IDs of the stack's services. */
  async deployServices(): Promise<string[]> {
    const specs: JsonObject[] = [];
    for (const name of Object.keys(this.#file.services)) specs.push(await this.#specOf(name));
    const existing = new Map(
      (await labelled(this.#context, '/services', this.#stack)).map((service) => [nameOf(service), service]),
    );
    const ids: string[] = [];
    for (const spec of specs) {
      const service = existing.get(asText(spec.Name));
      ids.push(service ? await this.#update(service, spec) : await this.#create(spec));
    }
    return ids;
  }

  async #specOf(name: string): Promise<JsonObject> {
    const { secrets = [], configs = [] } = this.#file.services[name] ?? {};
    try {
      const references: References = {
        secrets: await this.#references('secret', secrets),
        configs: await this.#references('config', configs),
      };
      return serviceSpec(this.#stack, name, this.#file, references);
    } catch (error) {
      if (!(error instanceof CommandError) || error instanceof EngineError) throw error;
      throw new CommandError(`service ${name}: ${error.message}`, 1, { cause: error });
    }
  }

  async #create(spec: JsonObject): Promise<string> {
    const name = asText(spec.Name);
    this.#say(`Creating service ${name}`);
    const { headers } = await this.#prepareImage(spec, undefined);
    const answer = await this.#do(`create service ${name}`, 'POST', '/services/create', { headers, body: spec });
    return asText(at(answer, 'ID'));
  }

  async #update(service: JsonObject, spec: JsonObject): Promise<string> {
    const name = asText(spec.Name);
    this.#say(`Updating service ${name} (id: ${asText(service.ID)})`);
    const { headers, warnings } = await this.#prepareImage(spec, service);
    // A deployment has no --force: tasks that have not changed stay.
    inside(spec, 'TaskTemplate').ForceUpdate = at(service, 'Spec', 'TaskTemplate', 'ForceUpdate') ?? 0;
    const answer = await failing(`update service ${name}`, writeService(this.#context, service, spec, { headers }));
    for (const warning of [...warnings, ...answer]) this.#context.err.write(`${warning}\n`);
    return asText(service.ID);
  }

  /** Pins the image to its digest, or keeps the one that the service has where the file's image is the same as before. */
  async #prepareImage(
    spec: JsonObject,
    service: JsonObject | undefined,
  ): Promise<{ headers: Readonly<Record<string, string>>; warnings: string[] }> {
    const resolve = this.#flags.text('resolve-image');
    const container = inside(spec, 'TaskTemplate', 'ContainerSpec');
    const image = asText(container.Image);
    const headers = this.#flags.on('with-registry-auth') ? credentialHeaders(this.#context, image) : {};
    const isSame = service !== undefined && at(service, 'Spec', 'Labels', imageLabel) === image;
    if (isSame && resolve !== 'always')
      container.Image = at(service, 'Spec', 'TaskTemplate', 'ContainerSpec', 'Image') ?? image;
    container.Image = familiarImage(asText(container.Image));
    const asks = resolve === 'always' || (resolve === 'changed' && !isSame);
    return { headers, warnings: asks ? await resolveDigest(this.#context, spec, headers) : [] };
  }

  /** @returns the API's references of a service to its secrets or configs, in the order of the names. */
  async #references(kind: 'secret' | 'config', files: readonly FileReference[]): Promise<JsonObject[]> {
    if (files.length === 0) return [];
    const Kind = kind === 'secret' ? 'Secret' : 'Config';
    const wanted = files.map((reference) => {
      const declared = this.#file[`${kind}s`][reference.source];
      if (!declared) throw new CommandError(`undefined ${kind} ${JSON.stringify(reference.source)}`);
      return { name: declared.name ?? scoped(this.#stack, reference.source), file: targetOf(reference) };
    });
    const targets = wanted.map(({ file }) => file.Name);
    const twice = wanted.find(({ file }, index) => targets.indexOf(file.Name) < index);
    if (twice) throw new CommandError(`duplicate ${kind} target for ${twice.name} not allowed`);
    const found = await this.#context.client.json('GET', `/${kind}s`, {
      query: { filters: filterQuery([], { name: wanted.map(({ name }) => name) }) },
    });
    const ids = new Map(asList(found).map((item) => [nameOf(asObject(item)), asText(at(item, 'ID'))]));
    return wanted
      .sort((left, right) => (left.name < right.name ? -1 : left.name > right.name ? 1 : 0))
      .map(({ name, file }) => {
        const id = ids.get(name);
        if (id === undefined) throw new CommandError(`${kind} not found: ${name}`);
        return { File: file, [`${Kind}ID`]: id, [`${Kind}Name`]: name };
      });
  }

  async #find(path: string): Promise<Json | undefined> {
    try {
      return await this.#context.client.json('GET', path);
    } catch (error) {
      if (error instanceof EngineError && error.status === 404) return undefined;
      throw error;
    }
  }

  async #do(what: string, ...call: Parameters<Context['client']['json']>): Promise<Json> {
    return await failing(what, this.#context.client.json(...call));
  }

  #say(line: string): void {
    this.#context.out.write(`${line}\n`);
  }
}

/** The mode that a secret's or config's file has unless the user says otherwise. */
const fileMode = 0o444;

function targetOf({ source, target, uid, gid, mode }: FileReference) {
  return { Name: target || source, UID: uid || '0', GID: gid || '0', Mode: mode ?? fileMode };
}

async function failing<Result>(what: string, done: Promise<Result>): Promise<Result> {
  try {
    return await done;
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    throw new CommandError(`failed to ${what}: ${error.message}`, 1, { cause: error });
  }
}
