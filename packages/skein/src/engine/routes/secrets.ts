/** /secrets and /configs: the same five endpoints. */
import type { Filters } from '../../container/types.ts';
import type { Config, Secret } from '../../swarm/gen/objects_pb.js';
import type { ConfigSpec, SecretSpec } from '../../swarm/gen/specs_pb.js';
import type { Control } from '../../swarm/manager/types.ts';
import { config, configSpec, secret, secretSpec } from '../convert/secret.ts';
import type { Value } from '../convert/values.ts';
import { matches, matchesLabels, parseFilters } from '../filters.ts';
import { pathParameter, versionParameter } from '../parameters.ts';
import { empty, get, json, post, remove } from '../reply.ts';
import type { Engine, Route } from '../types.ts';

/** What differs between the two. */
interface Kind<O extends Secret | Config, S extends SecretSpec | ConfigSpec> {
  readonly path: string;
  readonly specName: string;
  readonly object: Value<O>;
  readonly spec: Value<S>;
  list(control: Control): O[];
  find(control: Control, reference: string): O;
  create(control: Control, spec: S): O;
  update(control: Control, id: string, version: bigint, spec: S): O;
  remove(control: Control, id: string): void;
}

const secrets: Kind<Secret, SecretSpec> = {
  path: '/secrets',
  specName: 'SecretSpec',
  object: secret,
  spec: secretSpec,
  // Internal ones belong to the swarm itself.
  list: (control) => control.store.view((transaction) => transaction.list('secret').filter((each) => !each.internal)),
  find: (control, reference) => control.findSecret(reference),
  create: (control, spec) => control.createSecret(spec),
  update: (control, id, version, spec) => control.updateSecret(id, version, spec),
  remove: (control, id) => control.removeSecret(id),
};

const configs: Kind<Config, ConfigSpec> = {
  path: '/configs',
  specName: 'ConfigSpec',
  object: config,
  spec: configSpec,
  list: (control) => control.store.view((transaction) => transaction.list('config')),
  find: (control, reference) => control.findConfig(reference),
  create: (control, spec) => control.createConfig(spec),
  update: (control, id, version, spec) => control.updateConfig(id, version, spec),
  remove: (control, id) => control.removeConfig(id),
};

export function secretRoutes(engine: Engine): Route[] {
  return [...routesOf(engine, secrets), ...routesOf(engine, configs)];
}

function routesOf<O extends Secret | Config, S extends SecretSpec | ConfigSpec>(
  { swarm }: Engine,
  kind: Kind<O, S>,
): Route[] {
  return [
    get(kind.path, (call) => {
      const filters = parseFilters(call.query.get('filters'), ['id', 'label', 'name', 'names']);
      const all = kind.list(swarm.control());
      return json(all.filter((each) => objectMatches(each, filters)).map((each) => kind.object.encode(each)));
    }),
    post(`${kind.path}/create`, async (call) => {
      const spec = kind.spec.decode(await call.json(), kind.specName);
      return json({ ID: kind.create(swarm.control(), spec).id }, 201);
    }),
    get(`${kind.path}/:id`, (call) => json(kind.object.encode(kind.find(swarm.control(), pathParameter(call, 'id'))))),
    post(`${kind.path}/:id/update`, async (call) => {
      const spec = kind.spec.decode(await call.json(), kind.specName);
      const version = versionParameter(call);
      const control = swarm.control();
      kind.update(control, kind.find(control, pathParameter(call, 'id')).id, version, spec);
      return empty(200);
    }),
    remove(`${kind.path}/:id`, (call) => {
      const control = swarm.control();
      kind.remove(control, kind.find(control, pathParameter(call, 'id')).id);
      return empty(204);
    }),
  ];
}

function objectMatches({ id, spec }: Secret | Config, filters: Filters): boolean {
  const name = spec?.annotations?.name ?? '';
  return (
    matches(filters, 'id', (value) => id.startsWith(value)) &&
    matches(filters, 'name', (value) => name.startsWith(value)) &&
    matches(filters, 'names', (value) => name === value) &&
    matchesLabels(filters, spec?.annotations?.labels ?? {})
  );
}
