import { EngineError } from '../../client/client.ts';
import { asList, asObject, asText, at, parseJson } from '../../client/json.ts';
import { command } from '../../command/command.ts';
import { CommandError } from '../../command/errors.ts';
import { syntaxError } from '../../command/values.ts';
import { inspectAll } from '../../output/index.ts';
import { program } from '../../program.ts';
import { forEachName } from '../each.ts';
import { inspectFlag } from '../flags.ts';
import { create } from './create.ts';
import { list, ps } from './list.ts';
import { logs } from './logs.ts';
import { prettyService } from './pretty.ts';
import { waitForService } from './progress.ts';
import { readService, rollback, setReplicas, update, writeService } from './update.ts';

const inspect = command(
  'inspect [OPTIONS] SERVICE [SERVICE...]',
  'Display detailed information on one or more services',
  `
  ${inspectFlag}
  --pretty  Print the information in a human friendly format
  `,
  async (context, flags, names) => {
    const fetch = async (name: string, query = {}) => {
      try {
        return await context.client.text('GET', `/services/${encodeURIComponent(name)}`, { query });
      } catch (error) {
        if (!(error instanceof EngineError) || error.status !== 404) throw error;
        throw new NoSuchService(name, error);
      }
    };
    if (!flags.on('pretty'))
      return await inspectAll(context, names, flags.text('format'), (name) => fetch(name, { insertDefaults: 'true' }));
    if (flags.changed('format')) throw new CommandError('--format is incompatible with human friendly format');
    const networks = asList(await context.client.json('GET', '/networks'));
    const byId = new Map(networks.map((network) => [asText(at(network, 'Id')), asText(at(network, 'Name'))]));
    for (const name of names) {
      const service = asObject(parseJson(await fetch(name, { insertDefaults: 'true' })));
      context.out.write(prettyService(service, byId));
    }
  },
);

/** docker's words for an unknown service in `inspect`. */
class NoSuchService extends EngineError {
  constructor(name: string, cause: Error) {
    super(404, `no such service: ${name}`);
    this.message = `Error: no such service: ${name}`;
    this.cause = cause;
  }
}

const remove = command(
  'rm SERVICE [SERVICE...]',
  'Remove one or more services',
  '',
  (context, _flags, names) =>
    forEachName(context, names, async (name) => {
      await context.client.text('DELETE', `/services/${encodeURIComponent(name)}`);
      return name;
    }),
  { aliases: ['remove'] },
);

const scaleUsage = 'SERVICE=REPLICAS [SERVICE=REPLICAS...]';

const scale = command(
  `scale ${scaleUsage}`,
  'Scale one or multiple replicated services',
  '-d, --detach  Exit immediately instead of waiting for the service to converge',
  async (context, flags, words) => {
    const wanted = words.map(parseScale);
    const scaled: string[] = [];
    const failures: CommandError[] = [];
    for (const { name, replicas } of wanted) {
      try {
        const service = await readService(context, name);
        const spec = structuredClone(asObject(at(service, 'Spec')));
        setReplicas(spec, replicas);
        for (const warning of await writeService(context, service, spec)) context.err.write(`${warning}\n`);
        context.out.write(`${name} scaled to ${replicas}\n`);
        scaled.push(name);
      } catch (error) {
        if (!(error instanceof CommandError)) throw error;
        failures.push(new CommandError(`${name}: ${error.message}`, 1, { cause: error }));
      }
    }
    for (const name of flags.on('detach') ? [] : scaled) await waitForService(context, name, false);
    if (failures.length > 0) throw new CommandError(failures.map((error) => error.message).join('\n'));
  },
);

function parseScale(word: string): { name: string; replicas: number } {
  const [name = '', count = '', ...rest] = word.split('=');
  if (count === '' || rest.length > 0) {
    const path = `${program} service scale`;
    throw new CommandError(
      `invalid scale specifier '${word}'.\nSee '${path} --help'.\n\nUsage:  ${path} ${scaleUsage}\n\nScale one or multiple replicated services`,
    );
  }
  if (!/^\d+$/.test(count))
    throw new CommandError(`${name}: invalid replicas value ${count}: ${syntaxError('ParseUint', count).message}`);
  return { name, replicas: Number(count) };
}

/** `skein service …`. */
export const serviceCommands = [create, inspect, list, logs, ps, remove, rollback, scale, update];
