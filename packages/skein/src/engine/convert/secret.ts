/** Docker's Secret and Config ↔ swarmkit's. A secret's data is taken, never sent. */
import { ConfigSchema, SecretSchema } from '../../swarm/gen/objects_pb.js';
import { ConfigSpecSchema, SecretSpecSchema } from '../../swarm/gen/specs_pb.js';
import { always, field, optional, struct, table } from './codec.ts';
import { annotations, driver, meta } from './common.ts';
import { bytes, text } from './values.ts';

const dataTaken = { ...field('Data', 'data', bytes), encode: () => {} };

export const secretSpec = table(SecretSpecSchema, [
  annotations,
  dataTaken,
  optional('Driver', 'driver', driver),
  optional('Templating', 'templating', driver),
]);

export const secret = table(SecretSchema, [
  always('ID', 'id', text),
  meta,
  struct('Spec', 'spec', SecretSpecSchema, secretSpec),
]);

export const configSpec = table(ConfigSpecSchema, [
  annotations,
  field('Data', 'data', bytes),
  optional('Templating', 'templating', driver),
]);

export const config = table(ConfigSchema, [
  always('ID', 'id', text),
  meta,
  struct('Spec', 'spec', ConfigSpecSchema, configSpec),
]);
