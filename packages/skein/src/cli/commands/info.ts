import { asList, asNumber, asObject, asText, at, type JsonObject } from '../client/json.ts';
import { bytesSize, humanDuration } from '../output/index.ts';

const nanosPerMs = 1e6;

/** `info`: what the engine says of itself, in docker's layout. */
export function infoText(info: JsonObject): string {
  const text = (field: string) => asText(info[field]);
  return [
    ` Containers: ${asNumber(info.Containers)}`,
    `  Running: ${asNumber(info.ContainersRunning)}`,
    `  Paused: ${asNumber(info.ContainersPaused)}`,
    `  Stopped: ${asNumber(info.ContainersStopped)}`,
    ` Images: ${asNumber(info.Images)}`,
    ...optional(' Server Version', text('ServerVersion')),
    ...optional(' Storage Driver', text('Driver')),
    ...asList(info.DriverStatus).map((pair) => `  ${asText(asList(pair)[0])}: ${asText(asList(pair)[1])}`),
    ...optional(' Logging Driver', text('LoggingDriver')),
    ...optional(' Cgroup Driver', text('CgroupDriver')),
    ...optional(' Cgroup Version', text('CgroupVersion')),
    ' Plugins:',
    `  Volume: ${names(info, 'Volume')}`,
    `  Network: ${names(info, 'Network')}`,
    ...optional('  Log', names(info, 'Log')),
    ...swarmLines(asObject(info.Swarm)),
    ...optional(' Runtimes', Object.keys(asObject(info.Runtimes)).join(' ')),
    ...optional(' Default Runtime', text('DefaultRuntime')),
    ` Init Binary: ${text('InitBinary')}`,
    ` containerd version: ${asText(at(info, 'ContainerdCommit', 'ID'))}`,
    ` runc version: ${asText(at(info, 'RuncCommit', 'ID'))}`,
    ` init version: ${asText(at(info, 'InitCommit', 'ID'))}`,
    ...securityLines(asList(info.SecurityOptions).map(asText)),
    ...optional(' Kernel Version', text('KernelVersion')),
    ...optional(' Operating System', text('OperatingSystem')),
    ...optional(' OSType', text('OSType')),
    ...optional(' Architecture', text('Architecture')),
    ` CPUs: ${asNumber(info.NCPU)}`,
    ` Total Memory: ${bytesSize(asNumber(info.MemTotal))}`,
    ...optional(' Name', text('Name')),
    ...optional(' ID', text('ID')),
    ` Docker Root Dir: ${text('DockerRootDir')}`,
    ` Debug Mode: ${info.Debug === true}`,
    ...(asList(info.Labels).length > 0
      ? [' Labels:', ...asList(info.Labels).map((label) => `  ${asText(label)}`)]
      : []),
    ` Experimental: ${info.ExperimentalBuild === true}`,
    ...registryLines(asObject(info.RegistryConfig)),
    ` Live Restore Enabled: ${info.LiveRestoreEnabled === true}`,
    '',
  ].join('\n');
}

function optional(name: string, value: string): string[] {
  return value ? [`${name}: ${value}`] : [];
}

function names(info: JsonObject, type: string): string {
  return asList(at(info, 'Plugins', type))
    .map(asText)
    .join(' ');
}

function swarmLines(swarm: JsonObject): string[] {
  const state = asText(swarm.LocalNodeState);
  const lines = [` Swarm: ${state}`];
  if (state === 'inactive' || state === 'locked' || state === '') return lines;
  lines.push(`  NodeID: ${asText(swarm.NodeID)}`);
  if (asText(swarm.Error)) lines.push(`  Error: ${asText(swarm.Error)}`);
  lines.push(`  Is Manager: ${swarm.ControlAvailable === true}`);
  const cluster = asObject(swarm.Cluster);
  if (swarm.ControlAvailable === true && asText(cluster.ID) && !asText(swarm.Error))
    lines.push(...clusterLines(swarm, cluster));
  lines.push(`  Node Address: ${asText(swarm.NodeAddr)}`);
  const managers = asList(swarm.RemoteManagers).map((manager) => asText(at(manager, 'Addr')));
  if (managers.length > 0) lines.push('  Manager Addresses:', ...managers.sort().map((address) => `   ${address}`));
  return lines;
}

function clusterLines(swarm: JsonObject, cluster: JsonObject): string[] {
  const spec = asObject(cluster.Spec);
  const pools = asList(cluster.DefaultAddrPool).map(asText);
  const words = (nanos: number) => humanDuration(nanos / nanosPerMs);
  const lines = [
    `  ClusterID: ${asText(cluster.ID)}`,
    `  Managers: ${asNumber(swarm.Managers)}`,
    `  Nodes: ${asNumber(swarm.Nodes)}`,
  ];
  if (pools.length > 0)
    lines.push(`  Default Address Pool: ${pools.join('  ')}  `, `  SubnetSize: ${asNumber(cluster.SubnetSize)}`);
  if (asNumber(cluster.DataPathPort) > 0) lines.push(`  Data Path Port: ${asNumber(cluster.DataPathPort)}`);
  return [
    ...lines,
    '  Orchestration:',
    `   Task History Retention Limit: ${asNumber(at(spec, 'Orchestration', 'TaskHistoryRetentionLimit'))}`,
    '  Raft:',
    `   Snapshot Interval: ${asNumber(at(spec, 'Raft', 'SnapshotInterval'))}`,
    `   Number of Old Snapshots to Retain: ${asNumber(at(spec, 'Raft', 'KeepOldSnapshots'))}`,
    `   Heartbeat Tick: ${asNumber(at(spec, 'Raft', 'HeartbeatTick'))}`,
    `   Election Tick: ${asNumber(at(spec, 'Raft', 'ElectionTick'))}`,
    '  Dispatcher:',
    `   Heartbeat Period: ${words(asNumber(at(spec, 'Dispatcher', 'HeartbeatPeriod')))}`,
    '  CA Configuration:',
    `   Expiry Duration: ${words(asNumber(at(spec, 'CAConfig', 'NodeCertExpiry')))}`,
    `   Force Rotate: ${asNumber(at(spec, 'CAConfig', 'ForceRotate'))}`,
    `  Autolock Managers: ${at(spec, 'EncryptionConfig', 'AutoLockManagers') === true}`,
    `  Root Rotation In Progress: ${cluster.RootRotationInProgress === true}`,
  ];
}

/** `name=seccomp,profile=default` → the name, its settings below. */
function securityLines(options: readonly string[]): string[] {
  if (options.length === 0) return [];
  const lines = options.flatMap((option) => {
    const pairs = option.split(',').map((part) => part.split('='));
    const name = pairs.find(([key]) => key === 'name')?.[1] ?? option;
    const rest = pairs
      .filter(([key]) => key !== 'name')
      .map(([key = '', value]) => `   ${key.charAt(0).toUpperCase()}${key.slice(1)}: ${value}`);
    return [`  ${name}`, ...rest];
  });
  return [' Security Options:', ...lines];
}

function registryLines(registry: JsonObject): string[] {
  const insecure = [
    ...Object.entries(asObject(registry.IndexConfigs))
      .filter(([, index]) => at(index, 'Secure') === false)
      .map(([name]) => name),
    ...asList(registry.InsecureRegistryCIDRs).map(asText),
  ];
  const mirrors = asList(registry.Mirrors).map(asText);
  return [
    ...(insecure.length > 0 ? [' Insecure Registries:', ...insecure.map((name) => `  ${name}`)] : []),
    ...(mirrors.length > 0 ? [' Registry Mirrors:', ...mirrors.map((name) => `  ${name}`)] : []),
  ];
}
