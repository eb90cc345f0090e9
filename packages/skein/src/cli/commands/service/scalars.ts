/** The flags with one value, applied to a spec the same way by `create` and `update`. */
import { asList, asObject, asText, asTexts, type Json, type JsonObject } from '../../client/json.ts';
import { CommandError } from '../../command/errors.ts';
import type { Flags } from '../../command/flags.ts';
import { parseBytes, parseDecimal, parseDuration } from '../../command/units.ts';
import { keyValues } from '../each.ts';
import { capability, parseCredentialSpec, splitWords } from './syntax.ts';

/** @returns the object at a path inside a spec, made where it is missing. */
export function inside(spec: JsonObject, ...path: readonly string[]): JsonObject {
  let here = spec;
  for (const key of path) {
    const next = asObject(here[key]);
    here[key] = next;
    here = next;
  }
  return here;
}

type Read = (flags: Flags, name: string) => Json;
const text: Read = (flags, name) => flags.text(name);
const number: Read = (flags, name) => flags.number(name);
const on: Read = (flags, name) => flags.on(name);
const duration: Read = (flags, name) => parseDuration(flags.text(name));
const bytes: Read = (flags, name) => parseBytes(flags.text(name));
const decimal: Read = (flags, name) => parseDecimal(flags.text(name));
const words: Read = (flags, name) => splitWords(flags.text(name));

const container = ['TaskTemplate', 'ContainerSpec'];
const limits = ['TaskTemplate', 'Resources', 'Limits'];
const reservations = ['TaskTemplate', 'Resources', 'Reservations'];

/** flag → where in the spec it goes and how it is read. */
const table: readonly (readonly [string, readonly string[], string, Read])[] = [
  ['entrypoint', container, 'Command', words],
  ['hostname', container, 'Hostname', text],
  ['init', container, 'Init', on],
  ['isolation', container, 'Isolation', text],
  ['oom-score-adj', container, 'OomScoreAdj', number],
  ['read-only', container, 'ReadOnly', on],
  ['stop-grace-period', container, 'StopGracePeriod', duration],
  ['stop-signal', container, 'StopSignal', text],
  ['tty', container, 'TTY', on],
  ['user', container, 'User', text],
  ['workdir', container, 'Dir', text],
  ['limit-cpu', limits, 'NanoCPUs', decimal],
  ['limit-memory', limits, 'MemoryBytes', bytes],
  ['limit-pids', limits, 'Pids', number],
  ['reserve-cpu', reservations, 'NanoCPUs', decimal],
  ['reserve-memory', reservations, 'MemoryBytes', bytes],
  ['replicas-max-per-node', ['TaskTemplate', 'Placement'], 'MaxReplicas', number],
  ['endpoint-mode', ['EndpointSpec'], 'Mode', text],
];

/** Puts the one-value flags that the user gave into a spec. */
export function applyScalars(spec: JsonObject, flags: Flags): void {
  for (const [name, path, field, read] of table) {
    if (flags.changed(name)) inside(spec, ...path)[field] = read(flags, name);
  }
  applyRestart(spec, flags);
  applyRollout(spec, flags, 'update', 'UpdateConfig');
  applyRollout(spec, flags, 'rollback', 'RollbackConfig');
  applyHealth(spec, flags);
  applyLogging(spec, flags);
  applyCapabilities(spec, flags);
  if (flags.changed('credential-spec'))
    inside(spec, ...container, 'Privileges').CredentialSpec = parseCredentialSpec(flags.text('credential-spec'));
}

/** Sets what the user gave in a group of flags whose other members take their defaults if the group is new. */
function applyGroup(
  parent: JsonObject,
  field: string,
  flags: Flags,
  members: readonly (readonly [string, string, Read])[],
): JsonObject | undefined {
  if (!members.some(([name]) => flags.changed(name))) return undefined;
  const isNew = parent[field] === undefined || parent[field] === null;
  const group = inside(parent, field);
  for (const [name, key, read] of members) {
    if (flags.changed(name) || (isNew && flags.text(name) !== '')) group[key] = read(flags, name);
  }
  return group;
}

function applyRestart(spec: JsonObject, flags: Flags): void {
  applyGroup(inside(spec, 'TaskTemplate'), 'RestartPolicy', flags, [
    ['restart-condition', 'Condition', text],
    ['restart-delay', 'Delay', duration],
    ['restart-max-attempts', 'MaxAttempts', number],
    ['restart-window', 'Window', duration],
  ]);
}

function applyRollout(spec: JsonObject, flags: Flags, prefix: string, field: string): void {
  const group = applyGroup(spec, field, flags, [
    [`${prefix}-parallelism`, 'Parallelism', number],
    [`${prefix}-delay`, 'Delay', duration],
    [`${prefix}-failure-action`, 'FailureAction', text],
    [`${prefix}-monitor`, 'Monitor', duration],
    [`${prefix}-max-failure-ratio`, 'MaxFailureRatio', number],
    [`${prefix}-order`, 'Order', text],
  ]);
  if (group?.Delay === 0) delete group.Delay;
}

function applyHealth(spec: JsonObject, flags: Flags): void {
  const names = ['cmd', 'interval', 'retries', 'start-interval', 'start-period', 'timeout'].map(
    (name) => `health-${name}`,
  );
  const given = names.filter((name) => flags.changed(name));
  const target = inside(spec, ...container);
  if (flags.on('no-healthcheck')) {
    if (given.length > 0) throw new CommandError('--no-healthcheck conflicts with --health-* options');
    target.Healthcheck = { Test: ['NONE'] };
    return;
  }
  if (given.length === 0) return;
  const health = inside(target, 'Healthcheck');
  // A check that was disabled is asked for again without saying how: the image's own.
  if (JSON.stringify(health.Test) === '["NONE"]') delete health.Test;
  if (flags.changed('health-cmd'))
    health.Test = flags.text('health-cmd') ? ['CMD-SHELL', flags.text('health-cmd')] : [];
  if (flags.changed('health-interval')) health.Interval = duration(flags, 'health-interval');
  if (flags.changed('health-timeout')) health.Timeout = duration(flags, 'health-timeout');
  if (flags.changed('health-start-period')) health.StartPeriod = duration(flags, 'health-start-period');
  if (flags.changed('health-start-interval')) health.StartInterval = duration(flags, 'health-start-interval');
  if (flags.changed('health-retries')) health.Retries = number(flags, 'health-retries');
}

function applyLogging(spec: JsonObject, flags: Flags): void {
  if (!flags.changed('log-driver') && !flags.changed('log-opt')) return;
  inside(spec, 'TaskTemplate').LogDriver = {
    Name: flags.text('log-driver'),
    Options: keyValues(flags.list('log-opt')),
  };
}

function applyCapabilities(spec: JsonObject, flags: Flags): void {
  if (!flags.changed('cap-add') && !flags.changed('cap-drop')) return;
  const target = inside(spec, ...container);
  const add = new Set(asList(target.CapabilityAdd).map(asText));
  const drop = new Set(asList(target.CapabilityDrop).map(asText));
  // Adding what was dropped only takes it off the list of dropped ones, and the other way round.
  for (const name of flags.list('cap-add').map(capability)) if (!drop.delete(name)) add.add(name);
  for (const name of flags.list('cap-drop').map(capability)) if (!add.delete(name)) drop.add(name);
  setList(target, 'CapabilityAdd', [...add].sort());
  setList(target, 'CapabilityDrop', [...drop].sort());
}

/** Sets a list in a spec; an empty one is left out, as Docker's clients do. */
export function setList(spec: JsonObject, field: string, items: Json[]): void {
  if (items.length > 0) spec[field] = items;
  else delete spec[field];
}

/** @returns a map of labels with some added and some removed. */
export function changedMap(
  value: Json | undefined,
  add: readonly string[],
  remove: readonly string[],
): Record<string, string> {
  const next = { ...asTexts(value), ...keyValues(add) };
  for (const key of remove) delete next[key];
  return next;
}
