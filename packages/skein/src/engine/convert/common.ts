/** Members that several objects share: version and times, name and labels, drivers, platforms, resources. */
import { create } from '@bufbuild/protobuf';
import type { Meta } from '../../swarm/gen/objects_pb.js';
import { MetaSchema } from '../../swarm/gen/objects_pb.js';
import {
  AnnotationsSchema,
  DiscreteGenericResourceSchema,
  DriverSchema,
  type GenericResource,
  GenericResourceSchema,
  NamedGenericResourceSchema,
  PlatformSchema,
  VersionSchema,
} from '../../swarm/gen/types_pb.js';
import { isObject, member, typeError } from '../json.ts';
import { always, type Field, field, inline, struct, table } from './codec.ts';
import { formatTime, int64, map, text, uint64, type Value } from './values.ts';

export const version = table(VersionSchema, [field('Index', 'index', uint64)]);

/** Version, CreatedAt, UpdatedAt: only sent, never taken. */
export const meta = inline('meta', MetaSchema, [
  struct('Version', 'version', VersionSchema, version),
  sentTime('CreatedAt', (message) => message.createdAt),
  sentTime('UpdatedAt', (message) => message.updatedAt),
]);

function sentTime(name: string, read: (message: Meta) => Meta['createdAt']): Field<Meta> {
  return {
    encode: (message, json) => {
      json[name] = formatTime(read(message));
    },
    decode: () => {},
  };
}

/** Name and Labels of a spec. */
export const annotations = inline('annotations', AnnotationsSchema, [
  field('Name', 'name', text),
  always('Labels', 'labels', map),
]);

export const driver = table(DriverSchema, [field('Name', 'name', text), field('Options', 'options', map)]);

export const platform = table(PlatformSchema, [field('Architecture', 'architecture', text), field('OS', 'os', text)]);

const named = table(NamedGenericResourceSchema, [field('Kind', 'kind', text), field('Value', 'value', text)]);
const discrete = table(DiscreteGenericResourceSchema, [field('Kind', 'kind', text), field('Value', 'value', int64)]);

/** Docker's GenericResource: one of NamedResourceSpec and DiscreteResourceSpec. */
export const genericResource: Value<GenericResource> = {
  encode: ({ resource }) => {
    if (resource.case === 'namedResourceSpec') return { NamedResourceSpec: named.encode(resource.value) };
    if (resource.case === 'discreteResourceSpec') return { DiscreteResourceSpec: discrete.encode(resource.value) };
    return {};
  },
  decode: (json, path) => {
    if (!isObject(json)) throw typeError(json, path, 'swarm.GenericResource');
    const message = create(GenericResourceSchema);
    const discreteSpec = member(json, 'DiscreteResourceSpec');
    const namedSpec = member(json, 'NamedResourceSpec');
    if (discreteSpec !== undefined) {
      const value = discrete.decode(discreteSpec, `${path}.DiscreteResourceSpec`);
      message.resource = { case: 'discreteResourceSpec', value };
    } else if (namedSpec !== undefined) {
      message.resource = { case: 'namedResourceSpec', value: named.decode(namedSpec, `${path}.NamedResourceSpec`) };
    }
    return message;
  },
  isZero: () => false,
};
