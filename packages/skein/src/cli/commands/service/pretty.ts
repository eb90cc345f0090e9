import { asList, asNumber, asObject, asText, asTexts, at, type Json, type JsonObject } from '../../client/json.ts';
import { ago, bytesSize, goDuration } from '../../output/index.ts';
import { imageWithoutDigest } from '../tasks.ts';

const nanosPerCpu = 1e9;

/** `service inspect --pretty`. @param networks names of networks by ID. */
export function prettyService(service: JsonObject, networks: ReadonlyMap<string, string>): string {
  const spec = asObject(service.Spec);
  const template = asObject(spec.TaskTemplate);
  return `${[
    '',
    `ID:\t\t${asText(service.ID)}`,
    `Name:\t\t${asText(spec.Name)}`,
    ...labelLines(asTexts(spec.Labels)),
    ...modeLines(asObject(spec.Mode)),
    ...updateStatusLines(asObject(service.UpdateStatus)),
    ...placementLines(asObject(template.Placement)),
    ...rolloutLines('Update', spec.UpdateConfig),
    ...rolloutLines('Rollback', spec.RollbackConfig),
    ...containerLines(asObject(template.ContainerSpec)),
    ...logLines(asObject(template.LogDriver)),
    'Resources:',
    ...resourceLines('Reservations', asObject(at(template, 'Resources', 'Reservations'))),
    ...resourceLines('Limits', asObject(at(template, 'Resources', 'Limits'))),
    ...networkLines(template, networks),
    `Endpoint Mode:\t${asText(at(service, 'Endpoint', 'Spec', 'Mode')) || asText(at(spec, 'EndpointSpec', 'Mode'))}`,
    ...portLines(asList(at(service, 'Endpoint', 'Ports')).map(asObject)),
    ...healthLines(asObject(at(template, 'ContainerSpec', 'Healthcheck'))),
  ].join('\n')}\n\n`;
}

function labelLines(labels: Readonly<Record<string, string>>): string[] {
  const lines = Object.entries(labels).map(([key, value]) => ` ${key}${value && `=${value}`}`);
  return lines.length > 0 ? ['Labels:', ...lines] : [];
}

function modeLines(mode: JsonObject): string[] {
  if (mode.Global) return ['Service Mode:\tGlobal'];
  if (mode.GlobalJob) return ['Service Mode:\tGlobalJob'];
  if (mode.ReplicatedJob) {
    const { MaxConcurrent, TotalCompletions } = asObject(mode.ReplicatedJob);
    return [
      'Service Mode:\tReplicatedJob',
      ` Max Concurrent:\t${asNumber(MaxConcurrent)}`,
      ` Total Completions:\t${asNumber(TotalCompletions)}`,
    ];
  }
  return ['Service Mode:\tReplicated', ` Replicas:\t${asNumber(at(mode, 'Replicated', 'Replicas'))}`];
}

function updateStatusLines(status: JsonObject): string[] {
  if (!asText(status.State)) return [];
  const when = (name: string, time: Json | undefined) => (asText(time) ? [` ${name}:\t${ago(asText(time))}`] : []);
  const completed = status.State === 'completed' ? when('Completed', status.CompletedAt) : [];
  return [
    'UpdateStatus:',
    ` State:\t\t${asText(status.State)}`,
    ...when('Started', status.StartedAt),
    ...completed,
    ` Message:\t\t${asText(status.Message)}`,
  ];
}

function placementLines(placement: JsonObject): string[] {
  const constraints = asList(placement.Constraints).map(asText);
  const preferences = asList(placement.Preferences).map(
    (item) => `spread=${asText(at(item, 'Spread', 'SpreadDescriptor'))}`,
  );
  const most = asNumber(placement.MaxReplicas);
  return [
    'Placement:',
    ...(constraints.length > 0 ? [` Constraints:\t[${constraints.join(' ')}]`] : []),
    ...(preferences.length > 0 ? [` Preferences:   [${preferences.join(' ')}]`] : []),
    ...(most > 0 ? [` Max Replicas Per Node:   ${most}`] : []),
  ];
}

function rolloutLines(name: 'Update' | 'Rollback', value: Json | undefined): string[] {
  const config = asObject(value);
  if (Object.keys(config).length === 0) return [];
  const delay = asNumber(config.Delay);
  return [
    `${name}Config:`,
    ` Parallelism:\t${asNumber(config.Parallelism)}`,
    ...(delay > 0 ? [` Delay:\t\t${goDuration(delay)}`] : []),
    ` On failure:\t${asText(config.FailureAction)}`,
    ...(asNumber(config.Monitor) > 0 ? [` Monitoring Period: ${goDuration(asNumber(config.Monitor))}`] : []),
    ` Max failure ratio: ${asNumber(config.MaxFailureRatio)}`,
    ...(asText(config.Order)
      ? [` ${name} order:      `.replace('Rollback order:      ', 'Rollback order:    ') + asText(config.Order)]
      : []),
  ];
}

function containerLines(container: JsonObject): string[] {
  const texts = (field: string) => asList(container[field]).map(asText);
  const line = (head: string, words: readonly string[]) => (words.length > 0 ? [`${head}${words.join(' ')} `] : []);
  const heads = (head: string, field: string) =>
    asText(container[field]) ? [`${head}${asText(container[field])}`] : [];
  const pairs = (head: string, entries: readonly string[]) => (entries.length > 0 ? [head, ...entries] : []);
  const capabilities = [
    ...(texts('CapabilityAdd').length > 0 ? [` Add: ${texts('CapabilityAdd').join(', ')}`] : []),
    ...(texts('CapabilityDrop').length > 0 ? [` Drop: ${texts('CapabilityDrop').join(', ')}`] : []),
  ];
  const ulimits = asList(container.Ulimits).map((item) => {
    const { Name, Soft, Hard } = asObject(item);
    return ` ${asText(Name)}: ${asNumber(Soft)}${Soft === Hard ? '' : `:${asNumber(Hard)}`}`;
  });
  return [
    'ContainerSpec:',
    ` Image:\t\t${imageWithoutDigest(asText(container.Image))}`,
    ...line(' Args:\t\t', texts('Args')),
    ...line(' Env:\t\t', texts('Env')),
    ...heads(' Dir:\t\t', 'Dir'),
    ...(container.Init === undefined || container.Init === null ? [] : [` Init:\t\t${container.Init}`]),
    ...heads(' User: ', 'User'),
    ...pairs('Capabilities:', capabilities),
    ...pairs(
      'SysCtls:',
      Object.entries(asTexts(container.Sysctls)).map(([key, value]) => ` ${key}: ${value}`),
    ),
    ...pairs('Ulimits:', ulimits),
    ...pairs('Mounts:', asList(container.Mounts).map(asObject).flatMap(mountLines)),
    ...pairs('Configs:', fileLines(container, 'Config')),
    ...pairs('Secrets:', fileLines(container, 'Secret')),
  ];
}

function mountLines(mount: JsonObject): string[] {
  return [
    ` Target:\t${asText(mount.Target)}`,
    `  Source:\t${asText(mount.Source)}`,
    `  ReadOnly:\t${mount.ReadOnly === true}`,
    `  Type:\t\t${asText(mount.Type)}`,
  ];
}

function fileLines(container: JsonObject, kind: 'Secret' | 'Config'): string[] {
  return asList(container[`${kind}s`]).flatMap((item) => [
    ` Target:\t${asText(at(item, 'File', 'Name'))}`,
    `  Source:\t${asText(at(item, `${kind}Name`))}`,
  ]);
}

function logLines(driver: JsonObject): string[] {
  if (!asText(driver.Name)) return [];
  const options = Object.entries(asTexts(driver.Options)).map(([key, value]) => `  ${`${key}:`.padEnd(9)}${value}`);
  return [
    'Log Driver:',
    ` Name:\t\t${asText(driver.Name)}`,
    ...(options.length > 0 ? [' LogOpts:', ...options, ''] : []),
  ];
}

function resourceLines(name: string, resources: JsonObject): string[] {
  const cpus = asNumber(resources.NanoCPUs);
  const memory = asNumber(resources.MemoryBytes);
  const processes = asNumber(resources.Pids);
  if (cpus === 0 && memory === 0 && processes === 0) return [];
  return [
    ` ${name}:`,
    ...(cpus > 0 ? [`  CPU:\t\t${cpus / nanosPerCpu}`] : []),
    ...(memory > 0 ? [`  Memory:\t${bytesSize(memory)}`] : []),
    ...(processes > 0 ? [`  PIDs:\t\t${processes}`] : []),
  ];
}

function networkLines(template: JsonObject, networks: ReadonlyMap<string, string>): string[] {
  const names = asList(template.Networks).map((item) => {
    const target = asText(at(item, 'Target'));
    return networks.get(target) ?? target;
  });
  return names.length > 0 ? [`Networks: ${names.join(' ')} `] : [];
}

function portLines(ports: readonly JsonObject[]): string[] {
  if (ports.length === 0) return [];
  const lines = ports.flatMap((port) => [
    ` PublishedPort = ${asNumber(port.PublishedPort)}`,
    `  Protocol = ${asText(port.Protocol)}`,
    `  TargetPort = ${asNumber(port.TargetPort)}`,
    `  PublishMode = ${asText(port.PublishMode)}`,
  ]);
  return ['Ports:', ...lines.slice(0, -1), `${lines.at(-1)} `];
}

function healthLines(health: JsonObject): string[] {
  if (Object.keys(health).length === 0) return [];
  const tests = asList(health.Test).map(asText);
  return [
    ' Healthcheck:',
    `  Interval = ${goDuration(asNumber(health.Interval))}`,
    `  Retries = ${asNumber(health.Retries)}`,
    `  StartPeriod =\t${goDuration(asNumber(health.StartPeriod))}`,
    `  Timeout =\t${goDuration(asNumber(health.Timeout))}`,
    ...(tests.length > 0
      ? ['  Tests:', ...tests.slice(0, -1).map((test) => `\t Test = ${test}`), `\t Test = ${tests.at(-1)} `]
      : []),
  ];
}
