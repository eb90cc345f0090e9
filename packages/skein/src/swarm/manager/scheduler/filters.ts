import type { Task } from '../../gen/objects_pb.js';
import { NodeSpec_Availability } from '../../gen/specs_pb.js';
import { type Mount, Mount_Type, NodeStatus_State, type Platform, type PluginDescription } from '../../gen/types_pb.js';
import type { ReadTransaction } from '../../store/index.ts';
import { type AddressBook, attachedNetworks, knowsSubnet, overlayNetworks } from '../allocator/index.ts';
import { satisfiesPlacement } from '../tasks.ts';
import { genericAmounts, hostPortsOf, type NodeLoad } from './node-load.ts';

/** What a filter may ask besides the node. */
export interface FilterContext {
  readonly tx: ReadTransaction;
  readonly book: () => AddressBook;
}

/** One condition that a node must fulfil to get a task. */
export interface Filter {
  passes(task: Task, load: NodeLoad, context: FilterContext): boolean;
  /** Says that `count` nodes did not pass, in swarmkit's words. */
  explain(count: number): string;
}

const nodes = (count: number) => (count === 1 ? '1 node' : `${count} nodes`);

/** The conditions in the order in which they are asked (swarmkit manager/scheduler/{pipeline,filter}.go). */
export const filters: readonly Filter[] = [
  {
    passes: (_task, { node }) =>
      node.status?.state === NodeStatus_State.READY && (node.spec?.availability ?? 0) === NodeSpec_Availability.ACTIVE,
    explain: (count) => `${nodes(count)} not available for new tasks`,
  },
  { passes: hasResources, explain: (count) => `insufficient resources on ${nodes(count)}` },
  { passes: hasPlugins, explain: (count) => `missing plugin on ${nodes(count)}` },
  {
    passes: (task, { node }) => satisfiesPlacement(node, task.spec),
    explain: (count) => `scheduling constraints not satisfied on ${nodes(count)}`,
  },
  { passes: hasPlatform, explain: (count) => `unsupported platform on ${nodes(count)}` },
  {
    passes: (task, load) => hostPortsOf(task).every((port) => !load.hostPorts.has(port)),
    explain: (count) => `host-mode port already in use on ${nodes(count)}`,
  },
  {
    passes: (task, load) => {
      const limit = task.spec?.placement?.maxReplicas ?? 0n;
      return limit === 0n || BigInt(load.tasksOf(task.serviceId)) < limit;
    },
    explain: () => 'max replicas per node limit exceed',
  },
  {
    // Ours: a node that cannot get a load-balancer address on the task's network could not run the task. The network
    // may have grown since the task got its addresses.
    passes: (task, { node }, { tx, book }) =>
      overlayNetworks(task).every(
        (network) =>
          attachedNetworks(node).has(network.id) || book().free(tx.get('network', network.id) ?? network) > 0,
      ),
    explain: (count) => `no address left for the load balancer of ${nodes(count)}`,
  },
  {
    // Ours: a dockerd keeps a network as it was when its first task came.
    passes: (task, { node }) =>
      task.networks.every(
        ({ network, addresses }) => !network || addresses.every((address) => knowsSubnet(node, network.id, address)),
      ),
    explain: (count) => `a network has grown since ${nodes(count)} joined it`,
  },
];

function hasResources(task: Task, load: NodeLoad): boolean {
  const reserved = task.spec?.resources?.reservations;
  if (!reserved) return true;
  if (reserved.nanoCpus > 0n && reserved.nanoCpus > load.nanoCpus) return false;
  if (reserved.memoryBytes > 0n && reserved.memoryBytes > load.memoryBytes) return false;
  return [...genericAmounts(reserved)].every(([kind, amount]) => amount <= (load.generic.get(kind) ?? 0n));
}

/** A node that says nothing about its engine passes, and so does one without any log plugin in its list. */
function hasPlugins(task: Task, { node }: NodeLoad): boolean {
  const plugins = node.description?.engine?.plugins;
  if (!plugins) return true;
  const volumes = task.spec?.runtime.case === 'container' ? task.spec.runtime.value.mounts.flatMap(volumeDriver) : [];
  const networks = task.networks.flatMap(({ network }) => network?.driverState?.name || []);
  const log = task.spec?.logDriver?.name ?? '';
  const logs = log === '' || log === 'none' || !plugins.some(({ type }) => type === 'Log') ? [] : [log];
  return (
    volumes.every((name) => hasPlugin(plugins, 'Volume', name)) &&
    networks.every((name) => hasPlugin(plugins, 'Network', name)) &&
    logs.every((name) => hasPlugin(plugins, 'Log', name))
  );
}

function hasPlugin(plugins: readonly PluginDescription[], type: string, name: string): boolean {
  return plugins.some((plugin) => plugin.type === type && (plugin.name === name || plugin.name === `${name}:latest`));
}

function volumeDriver(mount: Mount): string[] {
  const name = mount.volumeOptions?.driverConfig?.name ?? '';
  return mount.type === Mount_Type.VOLUME && name !== '' && name !== 'local' ? [name] : [];
}

/** Kernel's and Go's names of the same architecture. */
const goArchitectures: Readonly<Record<string, string>> = { x86_64: 'amd64', aarch64: 'arm64' };

function hasPlatform(task: Task, { node }: NodeLoad): boolean {
  const wanted = task.spec?.placement?.platforms ?? [];
  const actual = node.description?.platform;
  return wanted.length === 0 || (actual !== undefined && wanted.some((platform) => samePlatform(platform, actual)));
}

function samePlatform(wanted: Platform, actual: Platform): boolean {
  const architecture = (name: string) => goArchitectures[name] ?? name;
  return (
    (wanted.architecture === '' || architecture(wanted.architecture) === architecture(actual.architecture)) &&
    (wanted.os === '' || wanted.os === actual.os)
  );
}
