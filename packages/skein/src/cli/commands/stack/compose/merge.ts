import type { ComposeFile, ComposeService } from './schema.ts';

type Merge = (base: unknown, override: unknown) => unknown;

const replaced: Merge = (_base, override) => override;

/** Items of a list that stand for the same thing replace each other; the list is in the order of what they stand for. */
function byKey(key: string): Merge {
  return (base, override) => {
    const items = new Map<unknown, unknown>();
    for (const item of [...asList(base), ...asList(override)]) items.set(isMapping(item) ? item[key] : item, item);
    return [...items.values()].sort((left, right) => (keyText(left, key) < keyText(right, key) ? -1 : 1));
  };
}

const numberWidth = 6;
const keyText = (item: unknown, key: string): string =>
  String(isMapping(item) ? (item[key] ?? '') : item).replace(/^\d+$/, (digits) => digits.padStart(numberWidth, '0'));

/** Options of one driver go together; another driver takes none of them. */
const logging: Merge = (base, override) => {
  if (!isMapping(base) || !isMapping(override)) return override;
  return base.driver && override.driver && base.driver !== override.driver ? override : merged(base, override);
};

const attachment: Merge = (base, override) => merged(base, override, { aliases: replaced });

/** Parts of a service that go together in another way than key by key and list behind list (docker/cli: merge.go). */
const serviceRules: Readonly<Record<string, Merge>> = {
  command: replaced,
  entrypoint: replaced,
  ports: byKey('published'),
  volumes: byKey('target'),
  secrets: byKey('source'),
  configs: byKey('source'),
  logging,
  healthcheck: (base, override) => merged(base, override, { test: replaced }),
  ulimits: (base, override) => merged(base, override, {}, replaced),
  networks: (base, override) => merged(base, override, {}, attachment),
};

/** @returns a stack of several files: what a later file says goes over what an earlier one says. */
export function mergeFiles(base: ComposeFile, override: ComposeFile): ComposeFile {
  const service: Merge = (left, right) => merged(left, right, serviceRules);
  const section = <Item>(left: Record<string, Item>, right: Record<string, Item>): Record<string, Item> => ({
    ...left,
    ...right,
  });
  return {
    ...base,
    services: merged(base.services, override.services, {}, service) as Record<string, ComposeService>,
    networks: section(base.networks, override.networks),
    volumes: section(base.volumes, override.volumes),
    secrets: section(base.secrets, override.secrets),
    configs: section(base.configs, override.configs),
  };
}

/**
 * Mappings key by key, a list behind the other, a later value instead of the former.
 * @param rules how certain keys go. @param otherwise how all other keys go.
 */
function merged(
  base: unknown,
  override: unknown,
  rules: Readonly<Record<string, Merge>> = {},
  otherwise: Merge = merged,
): unknown {
  if (override === undefined || override === null) return base;
  if (base === undefined || base === null) return override;
  if (Array.isArray(base) && Array.isArray(override)) return [...base, ...override];
  if (!isMapping(base) || !isMapping(override)) return override;
  const keys = new Set([...Object.keys(base), ...Object.keys(override)]);
  const both = (key: string) => base[key] !== undefined && override[key] !== undefined;
  return Object.fromEntries(
    [...keys].map((key) => [
      key,
      both(key) ? (rules[key] ?? otherwise)(base[key], override[key]) : (override[key] ?? base[key]),
    ]),
  );
}

const asList = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);

const isMapping = (value: unknown): value is Record<string, unknown> =>
  value !== null && typeof value === 'object' && !Array.isArray(value);
