/**
 * The vocabulary in which the tables of this folder are written. A table says, line by line, which member of Docker's
 * JSON is which field of swarmkit's message, and serves both directions. Members come out in the table's order and
 * are left out as Go's `omitempty` does; what comes in is checked, and a wrong type is refused in Go's words.
 */
import { create, type DescMessage, type MessageShape } from '@bufbuild/protobuf';
import { isObject, type JsonObject, member, typeError } from '../json.ts';
import type { Value } from './values.ts';

/** One or more members of a JSON object and the fields of a message that hold them. */
export interface Field<M> {
  readonly encode: (message: M, json: JsonObject) => void;
  readonly decode: (message: M, json: JsonObject, path: string) => void;
}

/** A message and its JSON object. */
export interface Table<M> extends Value<M> {
  readonly fields: readonly Field<M>[];
}

/** The JSON object of a message. */
export function table<D extends DescMessage>(
  schema: D,
  fields: readonly Field<MessageShape<D>>[],
): Table<MessageShape<D>> {
  return {
    fields,
    encode: (message) => {
      const json: JsonObject = {};
      for (const each of fields) each.encode(message, json);
      return json;
    },
    decode: (json, path) => {
      if (!isObject(json)) throw typeError(json, path, schema.name);
      const message = create(schema);
      for (const each of fields) each.decode(message, json, path);
      return message;
    },
    isZero: () => false,
  };
}

/** A member that is left out when it is zero. */
export function field<K extends string, T>(name: string, key: K, value: Value<T>): Field<Record<K, T>> {
  return {
    encode: (message, json) => {
      if (!value.isZero(message[key])) json[name] = value.encode(message[key]);
    },
    decode: (message, json, path) => {
      const found = member(json, name);
      if (found !== undefined) message[key] = value.decode(found, `${path}.${name}`);
    },
  };
}

/** A member that Docker always sends. */
export function always<K extends string, T>(name: string, key: K, value: Value<T>): Field<Record<K, T>> {
  return {
    encode: (message, json) => {
      json[name] = value.encode(message[key]);
    },
    decode: field(name, key, value).decode,
  };
}

/** A message or wrapped value that may be missing (a pointer in Go): sent when it is set, even if it is zero. */
export function optional<K extends string, T>(
  name: string,
  key: K,
  value: Value<T>,
): Field<{ [P in K]?: T | undefined }> {
  return {
    encode: (message, json) => {
      const present = message[key];
      if (present !== undefined) json[name] = value.encode(present);
    },
    decode: (message, json, path) => {
      const found = member(json, name);
      if (found !== undefined) message[key] = value.decode(found, `${path}.${name}`);
    },
  };
}

/** A message that is a plain struct in Docker's JSON: always sent, `{}`-like when it is not set. */
export function struct<K extends string, D extends DescMessage>(
  name: string,
  key: K,
  schema: D,
  value: Value<MessageShape<D>>,
): Field<{ [P in K]?: MessageShape<D> | undefined }> {
  return {
    encode: (message, json) => {
      json[name] = value.encode(message[key] ?? create(schema));
    },
    decode: optional(name, key, value).decode,
  };
}

/** A message whose members stand in the outer object (Go's embedded struct). */
export function inline<K extends string, D extends DescMessage>(
  key: K,
  schema: D,
  fields: readonly Field<MessageShape<D>>[],
): Field<{ [P in K]?: MessageShape<D> | undefined }> {
  return {
    encode: (message, json) => {
      const inner = message[key] ?? create(schema);
      for (const each of fields) each.encode(inner, json);
    },
    decode: (message, json, path) => {
      const inner = message[key] ?? create(schema);
      for (const each of fields) each.decode(inner, json, path);
      message[key] = inner;
    },
  };
}
