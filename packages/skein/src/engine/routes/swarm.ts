/** /swarm: init, join, leave, inspect, update, and the unlocking that an unlocked swarm does not need. */
import * as z from 'zod';
import { SkeinError } from '../../common/index.ts';
import type { Availability } from '../../swarm/node/types.ts';
import { mergeClusterSpec, swarm } from '../convert/cluster.ts';
import { invalid, notBuilt } from '../errors.ts';
import { flagParameter, versionParameter } from '../parameters.ts';
import { empty, get, json, post } from '../reply.ts';
import { decodeBody, goBool, goString, goStrings, goStruct, goUint32 } from '../schema.ts';
import type { Call, Engine, Reply, Route } from '../types.ts';

const initBody = goStruct({
  ListenAddr: goString,
  AdvertiseAddr: goString,
  DataPathAddr: goString,
  DataPathPort: goUint32,
  ForceNewCluster: goBool,
  Spec: z.unknown().optional(),
  AutoLockManagers: goBool,
  Availability: goString,
  DefaultAddrPool: goStrings,
  SubnetSize: goUint32,
});

const joinBody = goStruct({
  ListenAddr: goString,
  AdvertiseAddr: goString,
  DataPathAddr: goString,
  RemoteAddrs: goStrings,
  JoinToken: goString,
  Availability: goString,
});

/** Docker's default of `--listen-addr`. */
const defaultListenAddress = '0.0.0.0:2377';
/** Only a locked swarm is unlocked (moby daemon/cluster: errSwarmNotLocked… ). */
const notLocked = 'swarm is not locked';
const noAutolock = 'Skein does not lock its managers: leave out --autolock.';

export function swarmRoutes(engine: Engine): Route[] {
  const node = engine.swarm;
  return [
    post('/swarm/init', (call) => initialise(engine, call)),
    post('/swarm/join', async (call) => {
      const body = decodeBody(joinBody, await call.json(), 'JoinRequest');
      if (body.RemoteAddrs.length === 0) throw invalid('at least 1 RemoteAddr is required to join');
      await node.join({
        listenAddress: body.ListenAddr || defaultListenAddress,
        advertiseAddress: body.AdvertiseAddr,
        dataPathAddress: body.DataPathAddr,
        remoteAddresses: body.RemoteAddrs,
        joinToken: body.JoinToken,
        availability: availabilityOf(body.Availability),
      });
      return empty(200);
    }),
    post('/swarm/leave', async (call) => {
      await node.leave(flagParameter(call, 'force'));
      return empty(200);
    }),
    get('/swarm', () => json(swarm(node.control().cluster()))),
    post('/swarm/update', (call) => update(engine, call)),
    get('/swarm/unlockkey', () => {
      // A manager that does not lock has no key; Docker answers with an empty one.
      node.control();
      return json({ UnlockKey: '' });
    }),
    post('/swarm/unlock', async (call) => {
      await call.json();
      throw new SkeinError('Conflict', notLocked);
    }),
  ];
}

async function initialise(engine: Engine, call: Call): Promise<Reply> {
  const given = await call.json();
  const body = decodeBody(initBody, given, 'InitRequest');
  const spec = mergeClusterSpec(body.Spec ?? {}, 'InitRequest.Spec');
  if (body.AutoLockManagers || spec.encryptionConfig?.autoLockManagers === true) throw notBuilt(noAutolock);
  const name = spec.annotations?.name ?? '';
  if (name !== '' && name !== 'default') throw invalid('swarm spec must be named "default"');
  const nodeId = await engine.swarm.init({
    listenAddress: body.ListenAddr || defaultListenAddress,
    advertiseAddress: body.AdvertiseAddr,
    dataPathAddress: body.DataPathAddr,
    dataPathPort: body.DataPathPort,
    forceNewCluster: body.ForceNewCluster,
    availability: availabilityOf(body.Availability),
    autoLockManagers: body.AutoLockManagers,
    defaultAddressPool: body.DefaultAddrPool,
    subnetSize: body.SubnetSize,
    spec: body.Spec === undefined ? undefined : spec,
  });
  return json(nodeId);
}

async function update(engine: Engine, call: Call): Promise<Reply> {
  const body = await call.json();
  const version = versionParameter(call);
  const control = engine.swarm.control();
  const current = control.cluster();
  const spec = mergeClusterSpec(body, 'Spec', current.spec);
  if (spec.encryptionConfig?.autoLockManagers === true) throw notBuilt(noAutolock);
  control.updateCluster(version, spec, {
    workerToken: flagParameter(call, 'rotateWorkerToken'),
    managerToken: flagParameter(call, 'rotateManagerToken'),
    unlockKey: flagParameter(call, 'rotateManagerUnlockKey'),
  });
  return empty(200);
}

/** '' is active. @throws SkeinError InvalidArgument `invalid Availability: "x"`. */
function availabilityOf(word: string): Availability {
  if (word === '') return 'active';
  if (word === 'active' || word === 'pause' || word === 'drain') return word;
  throw invalid(`invalid Availability: "${word}"`);
}
