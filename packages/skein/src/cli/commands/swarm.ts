import { isIPv6 } from 'node:net';
import { asNumber, asObject, asText, at, type Json, type JsonObject } from '../client/json.ts';
import { type Context, command } from '../command/command.ts';
import { CommandError } from '../command/errors.ts';
import type { Flags } from '../command/flags.ts';
import { parseDuration } from '../command/units.ts';
import { program } from '../program.ts';

const defaultListenAddress = '0.0.0.0:2377';

const settingFlags = `
  --autolock                               Encrypt managers' state with a key that a restart asks for
  --cert-expiry duration=2160h0m0s         Validity period of node certificates (ns|us|ms|s|m|h)
  --dispatcher-heartbeat duration=5s       Dispatcher heartbeat period (ns|us|ms|s|m|h)
  --external-ca external-ca                Specifications of certificate signing endpoints
  --max-snapshots uint=0                   Number of additional Raft snapshots to retain
  --snapshot-interval uint=10000           Number of log entries between Raft snapshots
  --task-history-limit int=5               Task history retention limit
`;

const init = command(
  'init [OPTIONS]',
  'Initialize a swarm',
  `
  --advertise-addr string                  Advertised address (format: "<ip|interface>[:port]")
  --availability string=active             Availability of the node ("active", "pause", "drain")
  --data-path-addr string                  Address or interface for data path traffic (format: "<ip|interface>")
  --data-path-port uint32=0                Port for data path traffic (1024 - 49151), 0 for the default (4789)
  --default-addr-pool ipNetSlice           Default address pool in CIDR format
  --default-addr-pool-mask-length uint32=24  Default address pool subnet mask length
  --force-new-cluster                      Make a new cluster from the current state
  --listen-addr node-addr=0.0.0.0:2377     Listen address (format: "<ip|interface>[:port]")
  ${settingFlags}`,
  async (context, flags) => {
    const nodeId = await context.client.json('POST', '/swarm/init', { body: initRequest(flags) });
    context.out.write(`Swarm initialized: current node (${asText(nodeId)}) is now a manager.\n\n`);
    await printJoinCommand(context, 'worker', asText(nodeId));
    if (flags.on('autolock')) await printUnlockKey(context);
  },
);

function initRequest(flags: Flags): JsonObject {
  const spec = {
    Labels: null,
    Orchestration: {},
    Raft: {},
    Dispatcher: {},
    CAConfig: {},
    EncryptionConfig: {},
    TaskDefaults: {},
  };
  return {
    ListenAddr: listenAddress(flags),
    AdvertiseAddr: flags.text('advertise-addr'),
    DataPathAddr: flags.text('data-path-addr'),
    DataPathPort: flags.number('data-path-port'),
    ForceNewCluster: flags.on('force-new-cluster'),
    Spec: applySettings(spec, flags, true),
    AutoLockManagers: flags.on('autolock'),
    Availability: flags.text('availability'),
    DefaultAddrPool: flags.list('default-addr-pool'),
    SubnetSize: flags.number('default-addr-pool-mask-length'),
  };
}

/** The listen address; docker adds the swarm's port where the user gives none. */
function listenAddress(flags: Flags): string {
  const text = flags.text('listen-addr') || defaultListenAddress;
  if (isIPv6(text)) return `[${text}]:2377`;
  return /:\d+$/.test(text) ? text : `${text}:2377`;
}

/** Puts the settings that the user gave (at `init`: all with their defaults) into a swarm's spec. */
function applySettings(spec: JsonObject, flags: Flags, withDefaults: boolean): JsonObject {
  const next = structuredClone(spec);
  const put = (flag: string, section: string, field: string, value: () => Json) => {
    if (withDefaults || flags.changed(flag)) next[section] = { ...asObject(next[section]), [field]: value() };
  };
  put('task-history-limit', 'Orchestration', 'TaskHistoryRetentionLimit', () => flags.number('task-history-limit'));
  put('dispatcher-heartbeat', 'Dispatcher', 'HeartbeatPeriod', () => parseDuration(flags.text('dispatcher-heartbeat')));
  put('cert-expiry', 'CAConfig', 'NodeCertExpiry', () => parseDuration(flags.text('cert-expiry')));
  put('max-snapshots', 'Raft', 'KeepOldSnapshots', () => flags.number('max-snapshots'));
  put('snapshot-interval', 'Raft', 'SnapshotInterval', () => flags.number('snapshot-interval'));
  put('autolock', 'EncryptionConfig', 'AutoLockManagers', () => flags.on('autolock'));
  if (flags.changed('external-ca')) {
    next.CAConfig = { ...asObject(next.CAConfig), ExternalCAs: flags.list('external-ca').map(externalAuthority) };
  }
  return next;
}

/** `protocol=cfssl,url=https://…[,cacert=file]` without reading the certificate. */
function externalAuthority(text: string): Json {
  const fields = Object.fromEntries(text.split(',').map((part) => part.split('=', 2)));
  if (!fields.protocol || !fields.url) {
    throw new CommandError(`the external-ca option needs protocol= and url=, not ${JSON.stringify(text)}`);
  }
  return { Protocol: fields.protocol, URL: fields.url };
}

async function printJoinCommand(context: Context, role: 'worker' | 'manager', ownId?: string): Promise<void> {
  const id = ownId ?? asText(at(await context.client.json('GET', '/info'), 'Swarm', 'NodeID'));
  const [swarm, node] = await Promise.all([
    context.client.json('GET', '/swarm'),
    context.client.json('GET', `/nodes/${encodeURIComponent(id)}`),
  ]);
  const token = asText(at(swarm, 'JoinTokens', role === 'worker' ? 'Worker' : 'Manager'));
  const address = asText(at(node, 'ManagerStatus', 'Addr'));
  context.out.write(`To add a ${role} to this swarm, run the following command:\n\n`);
  context.out.write(`    ${program} swarm join --token ${token} ${address}\n\n`);
}

const join = command(
  'join [OPTIONS] HOST:PORT',
  'Join a swarm as a node and/or manager',
  `
  --advertise-addr string               Advertised address (format: "<ip|interface>[:port]")
  --availability string=active          Availability of the node ("active", "pause", "drain")
  --data-path-addr string               Address or interface for data path traffic (format: "<ip|interface>")
  --listen-addr node-addr=0.0.0.0:2377  Listen address (format: "<ip|interface>[:port]")
  --token string                        Token for entry into the swarm
  `,
  async (context, flags, [remote = '']) => {
    await context.client.text('POST', '/swarm/join', {
      body: {
        ListenAddr: listenAddress(flags),
        AdvertiseAddr: flags.text('advertise-addr'),
        DataPathAddr: flags.text('data-path-addr'),
        RemoteAddrs: [remote],
        JoinToken: flags.text('token'),
        Availability: flags.text('availability'),
      },
    });
    const info = await context.client.json('GET', '/info');
    const role = at(info, 'Swarm', 'ControlAvailable') === true ? 'manager' : 'worker';
    context.out.write(`This node joined a swarm as a ${role}.\n`);
  },
);

/** Reads the swarm, changes its spec and writes it back under the version that was read. */
async function updateSwarm(
  context: Context,
  change: (spec: JsonObject) => JsonObject,
  query: Record<string, boolean> = {},
): Promise<void> {
  const swarm = await context.client.json('GET', '/swarm');
  await context.client.text('POST', '/swarm/update', {
    query: { version: asNumber(at(swarm, 'Version', 'Index')), ...query },
    body: change(asObject(at(swarm, 'Spec'))),
  });
}

const joinToken = command(
  'join-token [OPTIONS] (worker|manager)',
  'Manage join tokens',
  `
  -q, --quiet  Only display token
  --rotate     Rotate join token
  `,
  async (context, flags, [role = '']) => {
    if (role !== 'worker' && role !== 'manager') throw new CommandError(`unknown role ${role}`);
    if (flags.on('rotate')) {
      const rotate = role === 'worker' ? 'rotateWorkerToken' : 'rotateManagerToken';
      await updateSwarm(context, (spec) => spec, { [rotate]: true });
      if (!flags.on('quiet')) context.out.write(`Successfully rotated ${role} join token.\n\n`);
    }
    if (!flags.on('quiet')) return await printJoinCommand(context, role);
    const swarm = await context.client.json('GET', '/swarm');
    context.out.write(`${asText(at(swarm, 'JoinTokens', role === 'worker' ? 'Worker' : 'Manager'))}\n`);
  },
);

const leave = command(
  'leave [OPTIONS]',
  'Leave the swarm',
  '-f, --force  Leave even where that loses the cluster, ignoring warnings',
  async (context, flags) => {
    await context.client.text('POST', '/swarm/leave', { query: { force: flags.on('force') } });
    context.out.write('Node left the swarm.\n');
  },
);

const update = command('update [OPTIONS]', 'Update the swarm', settingFlags, async (context, flags) => {
  await updateSwarm(context, (spec) => applySettings(spec, flags, false));
  context.out.write('Swarm updated.\n');
  if (flags.on('autolock')) await printUnlockKey(context);
});

async function printUnlockKey(context: Context): Promise<void> {
  const key = asText(at(await context.client.json('GET', '/swarm/unlockkey'), 'UnlockKey'));
  context.out.write(
    `To unlock a swarm manager after it restarts, run the \`${program} swarm unlock\`\ncommand and provide the following key:\n\n` +
      `    ${key}\n\nRemember to store this key in a password manager, since without it you\nwill not be able to restart the manager.\n`,
  );
}

const unlockKey = command(
  'unlock-key [OPTIONS]',
  'Manage the unlock key',
  `
  -q, --quiet  Only display token
  --rotate     Rotate unlock key
  `,
  async (context, flags) => {
    if (flags.on('rotate')) {
      await updateSwarm(context, (spec) => spec, { rotateManagerUnlockKey: true });
      if (!flags.on('quiet')) context.out.write('Successfully rotated manager unlock key.\n\n');
    }
    const key = asText(at(await context.client.json('GET', '/swarm/unlockkey'), 'UnlockKey'));
    if (key === '') throw new CommandError('no unlock key is set');
    if (flags.on('quiet')) context.out.write(`${key}\n`);
    else await printUnlockKey(context);
  },
);

const certificateAuthority = command(
  'ca [OPTIONS]',
  'Display and rotate the root CA',
  `
  --cert-expiry duration=2160h0m0s  Validity period of node certificates (ns|us|ms|s|m|h)
  -d, --detach                      Exit without waiting for the root rotation to converge
  -q, --quiet                       Suppress progress output
  --rotate                          Rotate the swarm CA
  `,
  async (context, flags) => {
    if (flags.on('rotate')) {
      await updateSwarm(context, (spec) => {
        const authority = asObject(spec.CAConfig);
        return { ...spec, CAConfig: { ...authority, ForceRotate: asNumber(authority.ForceRotate) + 1 } };
      });
      if (flags.on('detach')) return;
    }
    const swarm = await context.client.json('GET', '/swarm');
    const root = asText(at(swarm, 'TLSInfo', 'TrustRoot'));
    if (root === '') throw new CommandError('No CA information available');
    context.out.write(`${root.trim()}\n`);
  },
);

/** `skein swarm …`. */
export const swarmCommands = [certificateAuthority, init, join, joinToken, leave, unlockKey, update];
