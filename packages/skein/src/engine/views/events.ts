/** Events as GET /events sends them. */
import type { EngineEvent } from '../../common/index.ts';
import type { Filters } from '../../container/types.ts';
import { matches, matchesLabels } from '../filters.ts';
import type { JsonObject } from '../json.ts';

const nanosecondsPerSecond = 1_000_000_000n;

/** The filters of GET /events. */
export const eventFilters = [
  'config',
  'container',
  'daemon',
  'event',
  'image',
  'label',
  'network',
  'node',
  'plugin',
  'scope',
  'secret',
  'service',
  'type',
  'volume',
] as const;

/** Filters that name an object of that type by ID, ID prefix or name. */
const objectFilters = [
  'config',
  'container',
  'daemon',
  'image',
  'network',
  'node',
  'plugin',
  'secret',
  'service',
  'volume',
];

/** @returns Docker's JSON of an event; containers and images also carry the old members status, id and from. */
export function eventJson(event: EngineEvent): JsonObject {
  const { id, attributes } = event.actor;
  const old: JsonObject = {};
  if (event.type === 'container' || event.type === 'image') {
    old.status = event.action;
    old.id = id;
    if (event.type === 'container' && attributes.image !== undefined) old.from = attributes.image;
  }
  return {
    ...old,
    Type: event.type,
    Action: event.action,
    Actor: { ID: id, Attributes: attributes },
    scope: event.scope,
    time: Number(event.timeNano / nanosecondsPerSecond),
    timeNano: event.timeNano,
  };
}

export function eventMatches(event: EngineEvent, filters: Filters): boolean {
  return (
    matches(filters, 'type', (value) => event.type === value) &&
    matches(filters, 'scope', (value) => event.scope === value) &&
    // `exec_start: sh` is an exec_start (moby daemon/events/filter.go: matchEvent).
    matches(filters, 'event', (value) => event.action === value || event.action.startsWith(`${value}:`)) &&
    matchesLabels(filters, event.actor.attributes) &&
    objectFilters.every((type) => matches(filters, type, (value) => isObject(event, type, value)))
  );
}

function isObject(event: EngineEvent, type: string, value: string): boolean {
  const { id, attributes } = event.actor;
  if (event.type !== type) {
    // A container's events also belong to its image.
    return type === 'image' && event.type === 'container' && attributes.image === value;
  }
  return id === value || attributes.name === value || (value.length > 0 && id.startsWith(value));
}
