import type { Json, JsonObject } from '../../../client/json.ts';
import { namespaceLabel } from '../objects.ts';

/** @returns the name in the swarm of something of a stack. */
export function scoped(stack: string, key: string): string {
  return `${stack}_${key}`;
}

/** @returns the labels of something of a stack. */
export function stackLabels(stack: string, labels: Readonly<Record<string, string>> = {}): JsonObject {
  return { ...labels, [namespaceLabel]: stack };
}

/** @returns an object without the fields that say nothing: undefined, the empty text, the empty list. */
export function present(fields: Readonly<Record<string, Json | undefined>>): JsonObject {
  const says = ([, value]: readonly [string, Json | undefined]) =>
    value !== undefined && value !== '' && !(Array.isArray(value) && value.length === 0);
  return Object.fromEntries(Object.entries(fields).filter(says)) as JsonObject;
}
