/** Networks, secrets and configs of a stack as the API makes them. */
import { readFileSync } from 'node:fs';
import type { JsonObject } from '../../../client/json.ts';
import { CommandError } from '../../../command/errors.ts';
import type { ComposeFile, ComposeFileObject, ComposeNetwork } from '../compose/schema.ts';
import { present, scoped, stackLabels } from './scope.ts';

/** Networks that are on every node from the start: nobody makes them, and they know no aliases. */
const predefinedNetworks = new Set(['bridge', 'host', 'none', 'default']);

/** @returns whether it is a network that a user made. */
export function isUserDefined(network: string): boolean {
  return !predefinedNetworks.has(network) && !network.startsWith('container:');
}

/** The network of services that name none. */
export const defaultNetwork = 'default';

/** @returns the keys of the networks that services are on, in the order of the services. */
export function usedNetworks({ services }: ComposeFile): string[] {
  const keys = Object.values(services).flatMap(({ networks = {} }) => {
    const own = Object.keys(networks);
    return own.length > 0 ? own : [defaultNetwork];
  });
  return [...new Set(keys)];
}

/** @returns the name in the swarm of a stack's network. */
export function networkName(stack: string, key: string, network: ComposeNetwork | undefined): string {
  return network?.name ?? scoped(stack, key);
}

/** @returns the body of POST /networks/create. */
export function networkRequest(stack: string, key: string, network: ComposeNetwork = {}): JsonObject {
  const { driver, config = [] } = network.ipam ?? {};
  const subnets = config.map(({ subnet }) => present({ Subnet: subnet }));
  return present({
    Name: networkName(stack, key, network),
    Driver: network.driver || 'overlay',
    Options: network.driver_opts,
    Labels: stackLabels(stack, network.labels),
    ...(network.internal && { Internal: true }),
    ...(network.attachable && { Attachable: true }),
    ...((driver || subnets.length > 0) && { IPAM: present({ Driver: driver, Config: subnets }) }),
  });
}

/** @returns the spec of a secret or config, its data read from its file. */
export function fileSpec(stack: string, key: string, item: ComposeFileObject): JsonObject {
  return present({
    Name: item.name ?? scoped(stack, key),
    Labels: stackLabels(stack, item.labels),
    Data: item.driver ? undefined : readData(item.file ?? ''),
    ...(item.driver && { Driver: present({ Name: item.driver, Options: item.driver_opts }) }),
    ...(item.template_driver && { Templating: { Name: item.template_driver } }),
  });
}

function readData(path: string): string {
  try {
    return readFileSync(path).toString('base64');
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code === 'EISDIR' ? 'is a directory' : 'no such file or directory';
    throw new CommandError(`open ${path}: ${reason}`, 1, { cause: error });
  }
}
