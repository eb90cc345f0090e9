/** GET /info and GET /version. */
import { readdirSync } from 'node:fs';
import { NodeRole } from '../../swarm/gen/types_pb.js';
import { clusterInfo } from '../convert/cluster.ts';
import type { JsonObject } from '../json.ts';
import { apiVersion, minApiVersion } from '../router.ts';
import type { Engine } from '../types.ts';
import { readLimits, readMachine } from './host.ts';

/** Skein is not written in Go; the member says what runs it. */
const goVersion = `none (Node.js ${process.version})`;
/** Docker's index, which image references without a host belong to. */
const indexServer = 'https://index.docker.io/v1/';

export async function systemInfo(engine: Engine, eventListeners: number): Promise<JsonObject> {
  const { host, runtime, version } = engine;
  const facts = await runtime.info();
  const machine = readMachine();
  const commit = (id: string): JsonObject => ({ ID: id, Expected: id });
  return {
    ID: host.id,
    Containers: facts.containers.total,
    ContainersRunning: facts.containers.running,
    ContainersPaused: facts.containers.paused,
    ContainersStopped: facts.containers.stopped,
    Images: facts.images,
    Driver: facts.snapshotter,
    DriverStatus: [['driver-type', 'io.containerd.snapshotter.v1']],
    Plugins: {
      Volume: ['local'],
      Network: ['bridge', 'host', 'null', 'overlay'],
      Authorization: null,
      Log: ['json-file'],
    },
    ...readLimits(facts.cgroupVersion),
    Debug: host.debug,
    NFd: readdirSync('/proc/self/fd').length,
    NGoroutines: 0,
    SystemTime: new Date().toISOString(),
    LoggingDriver: 'json-file',
    CgroupDriver: facts.cgroupDriver,
    CgroupVersion: facts.cgroupVersion,
    NEventsListener: eventListeners,
    KernelVersion: machine.kernelVersion,
    OperatingSystem: machine.operatingSystem,
    OSVersion: machine.osVersion,
    OSType: 'linux',
    Architecture: machine.architecture,
    IndexServerAddress: indexServer,
    RegistryConfig: registryConfig,
    NCPU: machine.processors,
    MemTotal: machine.memory,
    GenericResources: null,
    DockerRootDir: host.dataRoot,
    HttpProxy: process.env.HTTP_PROXY ?? '',
    HttpsProxy: process.env.HTTPS_PROXY ?? '',
    NoProxy: process.env.NO_PROXY ?? '',
    Name: host.hostname,
    Labels: host.labels,
    ExperimentalBuild: false,
    ServerVersion: version.version,
    Runtimes: { runc: { path: 'runc' }, 'io.containerd.runc.v2': { path: 'runc' } },
    DefaultRuntime: 'runc',
    Swarm: swarmInfo(engine),
    // Containers run on while the daemon is away.
    LiveRestoreEnabled: true,
    Isolation: '',
    InitBinary: '',
    ContainerdCommit: commit(facts.containerdCommit),
    RuncCommit: commit(facts.runcVersion),
    InitCommit: commit(''),
    SecurityOptions: facts.securityOptions,
    CDISpecDirs: [],
    Warnings: null,
  };
}

/** Registries on loopback are reached by plain HTTP. */
const registryConfig = {
  AllowNondistributableArtifactsCIDRs: [],
  AllowNondistributableArtifactsHostnames: [],
  InsecureRegistryCIDRs: ['::1/128', '127.0.0.0/8'],
  IndexConfigs: { 'docker.io': { Name: 'docker.io', Mirrors: [], Secure: true, Official: true } },
  Mirrors: [],
};

/** The Swarm member of /info: what this node is, and on a manager the cluster. */
export function swarmInfo(engine: Engine): JsonObject {
  const status = engine.swarm.status();
  const info: JsonObject = {
    NodeID: status.nodeId,
    NodeAddr: status.nodeAddress,
    LocalNodeState: status.localNodeState,
    ControlAvailable: status.controlAvailable,
    Error: status.error,
    RemoteManagers:
      status.remoteManagers.length === 0
        ? null
        : status.remoteManagers.map(({ nodeId, address }) => ({ NodeID: nodeId, Addr: address })),
  };
  if (!status.controlAvailable) return info;
  const control = engine.swarm.control();
  const nodes = control.store.view((transaction) => transaction.list('node'));
  const managers = nodes.filter((node) => node.managerStatus !== undefined || node.role === NodeRole.MANAGER);
  return { ...info, Nodes: nodes.length, Managers: managers.length, Cluster: clusterInfo(control.cluster()) };
}

/** The value of the `Swarm` header of /_ping: `inactive`, `active/manager`, … */
export function swarmHeader(engine: Engine): string {
  const { localNodeState, controlAvailable } = engine.swarm.status();
  return localNodeState === 'active' ? `active/${controlAvailable ? 'manager' : 'worker'}` : localNodeState;
}

export async function systemVersion(engine: Engine): Promise<JsonObject> {
  const { version, gitCommit, buildTime } = engine.version;
  const facts = await engine.runtime.info();
  const machine = readMachine();
  return {
    Platform: { Name: `Skein ${version}` },
    Components: [
      {
        // The name by which the CLI knows the server's own component.
        Name: 'Engine',
        Version: version,
        Details: {
          ApiVersion: apiVersion,
          Arch: machine.goArchitecture,
          BuildTime: buildTime,
          Experimental: 'false',
          GitCommit: gitCommit,
          GoVersion: goVersion,
          KernelVersion: machine.kernelVersion,
          MinAPIVersion: minApiVersion,
          Os: 'linux',
        },
      },
      { Name: 'containerd', Version: facts.containerdVersion, Details: { GitCommit: facts.containerdCommit } },
      { Name: 'runc', Version: facts.runcVersion, Details: { GitCommit: '' } },
    ],
    Version: version,
    ApiVersion: apiVersion,
    MinAPIVersion: minApiVersion,
    GitCommit: gitCommit,
    GoVersion: goVersion,
    Os: 'linux',
    Arch: machine.goArchitecture,
    KernelVersion: machine.kernelVersion,
    BuildTime: buildTime,
  };
}
