import { BlockList, isIP } from 'node:net';
import { EngineError } from '../client/client.ts';
import { asList, asText, asTexts, at, type Json, type JsonObject } from '../client/json.ts';
import { type Context, command } from '../command/command.ts';
import { CommandError } from '../command/errors.ts';
import type { Flags } from '../command/flags.ts';
import { goTime, inspectAll, type Listing, printList, shortId } from '../output/index.ts';
import { confirm } from './confirm.ts';
import { keyValues, labelText } from './each.ts';
import { filterQuery } from './filters.ts';
import { formatFlag, inspectFlag } from './flags.ts';
import { naturalOrder } from './order.ts';
import { pruneCommand, tellDeleted } from './prune.ts';

interface Row {
  readonly network: JsonObject;
  readonly full: boolean;
}

const listing: Listing<Row> = {
  goType: '*network.networkContext',
  table: ['ID', 'Name', 'Driver', 'Scope'],
  quiet: 'ID',
  columns: {
    ID: {
      header: 'NETWORK ID',
      value: ({ network, full }) => (full ? asText(network.Id) : shortId(asText(network.Id))),
    },
    Name: { header: 'NAME', value: ({ network }) => asText(network.Name) },
    Driver: { header: 'DRIVER', value: ({ network }) => asText(network.Driver) },
    Scope: { header: 'SCOPE', value: ({ network }) => asText(network.Scope) },
    IPv4: { header: 'IPV4', value: ({ network }) => String(network.EnableIPv4 === true) },
    IPv6: { header: 'IPV6', value: ({ network }) => String(network.EnableIPv6 === true) },
    Internal: { header: 'INTERNAL', value: ({ network }) => String(network.Internal === true) },
    Labels: { header: 'LABELS', value: ({ network }) => labelText(asTexts(network.Labels)) },
    Label: {
      header: 'LABEL',
      value:
        ({ network }) =>
        (key) =>
          asTexts(network.Labels)[String(key)] ?? '',
    },
    CreatedAt: { header: 'CREATED AT', value: ({ network }) => goTime(asText(network.Created)) },
  },
};

const list = command(
  'ls [OPTIONS]',
  'List networks',
  `
  -f, --filter filter  Provide filter values (e.g. "driver=bridge")
  ${formatFlag}
  --no-trunc           Do not truncate the output
  -q, --quiet          Only display network IDs
  `,
  async (context, flags) => {
    const found = (await context.client.json('GET', '/networks', {
      query: { filters: filterQuery(flags.list('filter')) },
    })) as JsonObject[];
    const byName = found.sort((left, right) => naturalOrder(asText(left.Name), asText(right.Name)));
    const rows = byName.map((network) => ({ network, full: flags.on('no-trunc') }));
    printList(context.out, listing, rows, { format: flags.text('format'), quiet: flags.on('quiet') });
  },
  { aliases: ['list'] },
);

const create = command(
  'create [OPTIONS] NETWORK',
  'Create a network',
  `
  --attachable                Let containers that are no tasks join
  --aux-address map           Auxiliary addresses that the network's driver uses
  --config-from string        The network to copy the configuration from
  --config-only               Create a configuration only network
  -d, --driver string=bridge  Driver of the network
  --gateway strings           IPv4 or IPv6 gateway of the subnet
  --ingress                   Create the swarm's routing-mesh network
  --internal                  Restrict external access to the network
  --ip-range strings          Allocate addresses from a sub-range
  --ipam-driver string=default  IP address management driver
  --ipam-opt map              Options of the IP address management driver
  --ipv4                      Enable or disable IPv4 address assignment (default true)
  --ipv6                      Enable or disable IPv6 address assignment
  --label list                Set metadata on the network
  -o, --opt map               Options of the driver
  --scope string              Control the network's scope
  --subnet strings            Subnet in CIDR format
  `,
  async (context, flags, [name = '']) => {
    const created = await context.client.json('POST', '/networks/create', { body: createRequest(name, flags) });
    const warning = asText(at(created, 'Warning'));
    if (warning) context.err.write(`WARNING: ${warning}\n`);
    context.out.write(`${asText(at(created, 'Id'))}\n`);
  },
);

function createRequest(name: string, flags: Flags): JsonObject {
  const optional: JsonObject = {};
  if (flags.changed('ipv4')) optional.EnableIPv4 = flags.on('ipv4');
  if (flags.changed('ipv6')) optional.EnableIPv6 = flags.on('ipv6');
  return {
    Name: name,
    CheckDuplicate: true,
    Driver: flags.text('driver'),
    Scope: flags.text('scope'),
    IPAM: {
      Driver: flags.text('ipam-driver'),
      Options: keyValues(flags.list('ipam-opt')),
      Config: addressPools(flags, flags.list('subnet')),
    },
    Internal: flags.on('internal'),
    Attachable: flags.on('attachable'),
    Ingress: flags.on('ingress'),
    ConfigOnly: flags.on('config-only'),
    Options: keyValues(flags.list('opt')),
    Labels: keyValues(flags.list('label')),
    ConfigFrom: flags.changed('config-from') ? { Network: flags.text('config-from') } : null,
    ...optional,
  };
}

/** Pairs each subnet with the range, gateway and auxiliary addresses inside it. */
function addressPools(flags: Flags, subnets: readonly string[]): Json[] {
  const ranges = flags.list('ip-range');
  const gateways = flags.list('gateway');
  const auxiliary = Object.entries(keyValues(flags.list('aux-address')));
  if (subnets.length < ranges.length || subnets.length < gateways.length) {
    throw new CommandError('every ip-range or gateway must have a corresponding subnet');
  }
  const parsed = subnets.map((subnet) => ({ subnet, block: blockOf(subnet) }));
  const home = (address: string, what: string) => {
    const found = parsed.find(({ block }) => block?.(address));
    if (!found && parsed.every(({ block }) => block))
      throw new CommandError(`no matching subnet for ${what} ${address}`);
    return found?.subnet ?? subnets[0];
  };
  return subnets.map((Subnet) => {
    const range = ranges.find((text) => home(text.split('/')[0] ?? '', 'range') === Subnet);
    const gateway = gateways.find((text) => home(text, 'gateway') === Subnet);
    const others = auxiliary.filter(([, address]) => home(address, 'aux-address') === Subnet);
    return {
      Subnet,
      ...(range && { IPRange: range }),
      ...(gateway && { Gateway: gateway }),
      ...(others.length > 0 && { AuxiliaryAddresses: Object.fromEntries(others) }),
    };
  });
}

/** @returns a test for membership, undefined where the text is no subnet: the engine says what is wrong with it. */
function blockOf(subnet: string): ((address: string) => boolean) | undefined {
  const [address = '', length = ''] = subnet.split('/');
  const family = isIP(address);
  if (family === 0 || !/^\d+$/.test(length) || Number(length) > (family === 4 ? 32 : 128)) return undefined;
  const type = family === 4 ? 'ipv4' : 'ipv6';
  const block = new BlockList();
  block.addSubnet(address, Number(length), type);
  return (candidate) => isIP(candidate) === family && block.check(candidate, type);
}

const update = command(
  'update [OPTIONS] NETWORK',
  'Let a network of the swarm grow by further subnets, while its containers run',
  `
  --aux-address map      Auxiliary addresses that the network's driver uses
  --gateway strings      Gateway of an added subnet
  --ip-range strings     Allocate addresses from a sub-range of an added subnet
  --subnet-add strings   Subnet in CIDR format, or "auto" to have a free one chosen
  `,
  async (context, flags, [name = '']) => {
    const subnets = flags.list('subnet-add');
    if (subnets.length === 0) throw new CommandError('nothing to update: name a subnet with --subnet-add');
    const free = subnets.filter((subnet) => subnet === 'auto').map(() => ({ Subnet: '' }));
    const named = addressPools(
      flags,
      subnets.filter((subnet) => subnet !== 'auto'),
    );
    await context.client.json('POST', `/skein/networks/${encodeURIComponent(name)}/subnets`, {
      body: { Config: [...named, ...free] },
    });
    context.out.write(`${name}\n`);
  },
);

const inspect = command(
  'inspect [OPTIONS] NETWORK [NETWORK...]',
  'Display detailed information on one or more networks',
  `
  ${inspectFlag}
  -v, --verbose  Verbose output for diagnostics
  `,
  (context, flags, names) =>
    inspectAll(context, names, flags.text('format'), (name) =>
      context.client.text('GET', `/networks/${encodeURIComponent(name)}`, { query: { verbose: flags.on('verbose') } }),
    ),
);

const remove = command(
  'rm NETWORK [NETWORK...]',
  'Remove one or more networks',
  '-f, --force  Do not error if the network does not exist',
  (context, flags, names) => removeNetworks(context, flags, names),
  { aliases: ['remove'] },
);

const ingressWarning =
  'WARNING! Before removing the routing-mesh network, make sure all the nodes in your swarm run the same docker engine version. Otherwise, removal may not be effective and functionality of newly create ingress networks will be impaired.';

async function removeNetworks(context: Context, flags: Flags, names: readonly string[]): Promise<void> {
  let failed = false;
  for (const name of names) {
    const path = `/networks/${encodeURIComponent(name)}`;
    try {
      const network = await context.client.json('GET', path);
      if (at(network, 'Ingress') === true && !(await confirm(context, ingressWarning))) continue;
      await context.client.text('DELETE', path);
      context.out.write(`${name}\n`);
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      if (flags.on('force') && error instanceof EngineError && error.status === 404) continue;
      context.err.write(`${error.message}\n`);
      failed = true;
    }
  }
  // docker's own closing line.
  if (failed) throw new CommandError('exit status 1');
}

const connect = command(
  'connect [OPTIONS] NETWORK CONTAINER',
  'Connect a container to a network',
  `
  --alias strings          Add network-scoped alias for the container
  --driver-opt strings     Options of the network's driver
  --ip string              IPv4 address (e.g., "172.30.100.104")
  --ip6 string             IPv6 address (e.g., "2001:db8::33")
  --link list              Add link to another container
  --link-local-ip strings  Add a link-local address for the container
  `,
  async (context, flags, [network = '', container = '']) => {
    await context.client.text('POST', `/networks/${encodeURIComponent(network)}/connect`, {
      body: {
        Container: container,
        EndpointConfig: {
          IPAMConfig: {
            IPv4Address: flags.text('ip'),
            IPv6Address: flags.text('ip6'),
            LinkLocalIPs: flags.list('link-local-ip'),
          },
          Links: flags.list('link'),
          Aliases: flags.list('alias'),
          DriverOpts: keyValues(flags.list('driver-opt')),
        },
      },
    });
  },
);

const disconnect = command(
  'disconnect [OPTIONS] NETWORK CONTAINER',
  'Disconnect a container from a network',
  '-f, --force  Force the container to disconnect from a network',
  async (context, flags, [network = '', container = '']) => {
    await context.client.text('POST', `/networks/${encodeURIComponent(network)}/disconnect`, {
      body: { Container: container, Force: flags.on('force') },
    });
  },
);

const prune = pruneCommand({
  summary: 'Remove all unused networks',
  filter: 'until=<timestamp>',
  what: () => 'all custom networks not used by at least one container',
  remove: (context, filters) => pruneNetworks(context, filters).then(() => undefined),
});

/** Says what has gone. */
export async function pruneNetworks(context: Context, filters: readonly string[]): Promise<void> {
  const pruned = await context.client.json('POST', '/networks/prune', { query: { filters: filterQuery(filters) } });
  const names = asList(at(pruned, 'NetworksDeleted')).map(asText);
  tellDeleted(context, 'Networks', names);
}

/** `skein network …`. */
export const networkCommands = [connect, create, disconnect, inspect, list, prune, remove, update];
