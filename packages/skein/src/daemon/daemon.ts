import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { createLoadBalancer, type HostPort, type LoadBalancer } from '../balancer/index.ts';
import { createLogger, EventBus, type Logger } from '../common/index.ts';
import {
  type ContainerInspect,
  type ContainerRuntime,
  openContainerRuntime,
  unifiedCgroup,
} from '../container/index.ts';
import { createDiscovery, type Discovery, parseResolvConf } from '../discovery/index.ts';
import { type Diagnosis, predefinedId, startEngine } from '../engine/index.ts';
import {
  Attachments,
  ClusterNetwork,
  ContainerExecutor,
  type GossipReport,
  gatewayAddresses,
  ingressSandboxId,
} from '../executor/index.ts';
import { openLocalContainers, type PublishedPort } from '../local/index.ts';
import { createOverlayDriver, type OverlayDriver } from '../overlay/index.ts';
import { type HostExecutorFactory, openSwarmNode } from '../swarm/node/index.ts';
import { listenAddresses } from './listen.ts';
import { lockDataRoot } from './lock.ts';
import { RestCollector } from './rest-collector.ts';
import { hostRoutes } from './routes.ts';
import { engineId, productVersion } from './version.ts';

/** `skein daemon`'s flags. */
export interface DaemonOptions {
  /** State that survives a reboot. */
  readonly dataRoot: string;
  /** State that does not: sockets, namespaces. */
  readonly execRoot: string;
  /** `unix:///…` or `tcp://127.0.0.1:…`; the first unix one is the API socket. */
  readonly hosts: readonly string[];
  readonly logLevel: string;
  /** Socket of a running containerd; undefined: start one. */
  readonly containerd?: string;
  /** `name=value` labels of this engine. */
  readonly labels: readonly string[];
  readonly pidFile?: string;
  /** Parent cgroup of the containers. */
  readonly cgroupParent?: string;
  /** Whether containers' TCP and UDP go past the bridges where the kernel can. */
  readonly fastPath: 'auto' | 'off';
  /** Whether containers' connections to virtual IPs are led when they are made, where the kernel can. */
  readonly connectTime: 'auto' | 'off';
}

/** Runs the daemon until SIGTERM or SIGINT. @throws Error when a part does not start; what had started is ended again. */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  const logger = createLogger(options.logLevel);
  await using parts = new AsyncDisposableStack();
  parts.use(lockDataRoot(options.dataRoot));
  parts.use(new RestCollector());
  mkdirSync(options.execRoot, { recursive: true, mode: 0o711 });
  if (options.pidFile) writeFileSync(options.pidFile, `${process.pid}\n`);

  const events = new EventBus();
  const runtime = parts.use(await openRuntime(options, events, logger));
  const overlay = parts.use(openOverlay(options, events, logger));
  await overlay.adopt(new Set([...(await networkedContainers(runtime)), ingressSandboxId]));
  const discovery = parts.use(createDiscovery({ logger: logger.child({ room: 'discovery' }) }));
  const balancer = parts.use(
    createLoadBalancer({
      logger: logger.child({ room: 'balancer' }),
      connectTime: { mode: options.connectTime, cgroup: await unifiedCgroup(options.cgroupParent) },
    }),
  );
  // Containers that ended while no daemon was there have no sandbox any more: nothing is to be led to them.
  balancer.retainPorts(gatewayAddresses(overlay));
  const attachments = new Attachments(logger.child({ room: 'executor' }));
  const diagnosis = new DaemonDiagnosis();
  const labels = Object.fromEntries(options.labels.map(splitLabel));
  const swarm = parts.use(
    await openSwarmNode({
      stateDirectory: join(options.dataRoot, 'swarm'),
      logger: logger.child({ room: 'swarm' }),
      createExecutor: executorFactory({
        runtime,
        overlay,
        discovery,
        balancer,
        attachments,
        labels,
        logger,
        diagnosis,
      }),
      localRoutes: hostRoutes,
    }),
  );
  const id = engineId(options.dataRoot);
  const local = parts.use(
    openLocalContainers({
      stateDirectory: join(options.dataRoot, 'local'),
      runtime,
      overlay,
      discovery,
      balancer,
      attacher: {
        attach: (request) => attachments.attach(swarm, request),
        detach: (attachmentId) => swarm.detachNetwork(attachmentId),
        held: () => attachments.held(),
      },
      hostname: hostname(),
      defaultNetworkId: predefinedId({ host: { id } }, 'bridge'),
      hostResolver,
      events,
      logger: logger.child({ room: 'local' }),
    }),
  );
  await local.adopt();
  const { socketPath, tcp } = listenAddresses(options.hosts);
  parts.use(
    await startEngine({
      socketPath,
      ...(tcp ? { tcp } : {}),
      runtime,
      networking: overlay,
      local,
      taskPorts: (containerId) => balancer.ports(containerId).map(onAllAddresses),
      swarm,
      events,
      logger: logger.child({ room: 'engine' }),
      version: productVersion,
      host: {
        id,
        hostname: hostname(),
        dataRoot: options.dataRoot,
        labels: options.labels,
        debug: options.logLevel === 'debug' || options.logLevel === 'trace',
        started: new Date(),
      },
      diagnosis,
    }),
  );
  logger.info({ hosts: options.hosts, pid: process.pid }, 'skeind is ready');
  const signal = await untilSignal();
  logger.info({ signal }, 'skeind ends; containers run on');
}

function openRuntime(options: DaemonOptions, events: EventBus, logger: Logger): Promise<ContainerRuntime> {
  const managed = {
    root: join(options.dataRoot, 'containerd'),
    state: join(options.execRoot, 'containerd'),
    socket: join(options.execRoot, 'containerd.sock'),
  };
  return openContainerRuntime({
    stateDirectory: join(options.dataRoot, 'containers'),
    runDirectory: join(options.execRoot, 'containers'),
    containerd: options.containerd ? { address: options.containerd } : { managed },
    events,
    logger: logger.child({ room: 'container' }),
    ...(options.cgroupParent ? { cgroupParent: options.cgroupParent } : {}),
  });
}

function openOverlay(options: DaemonOptions, events: EventBus, logger: Logger): OverlayDriver {
  return createOverlayDriver({
    stateDirectory: join(options.dataRoot, 'network'),
    namespaceDirectory: join(options.execRoot, 'netns'),
    events,
    logger: logger.child({ room: 'overlay' }),
    fastPath: options.fastPath,
  });
}

/** @returns the containers that have a network: those that run, and those made into a namespace and not started yet. */
async function networkedContainers(runtime: ContainerRuntime): Promise<Set<string>> {
  const containers = await runtime.list();
  const isNetworked = ({ State }: ContainerInspect): boolean =>
    State.Running || State.Paused || State.Status === 'created';
  return new Set(containers.filter(isNetworked).map(({ Id }) => Id));
}

/** What the API shows of this daemon beyond Docker's. */
class DaemonDiagnosis implements Diagnosis {
  network: ClusterNetwork | undefined;

  gossip(): GossipReport | undefined {
    return this.network?.report();
  }
}

interface ExecutorParts {
  readonly runtime: ContainerRuntime;
  readonly overlay: OverlayDriver;
  readonly discovery: Discovery;
  readonly balancer: LoadBalancer;
  readonly attachments: Attachments;
  readonly labels: Readonly<Record<string, string>>;
  readonly logger: Logger;
  readonly diagnosis: DaemonDiagnosis;
}

function executorFactory(parts: ExecutorParts): HostExecutorFactory {
  const { labels, logger, diagnosis } = parts;
  return ({ nodeId, addresses, tlsInfo }) => {
    const network = new ClusterNetwork({
      ...parts,
      nodeId,
      addresses: { bind: addresses.listen.host, advertise: addresses.advertise.host, dataPath: addresses.dataPath },
      logger: logger.child({ room: 'gossip' }),
    });
    diagnosis.network = network;
    const executor = new ContainerExecutor({
      ...parts,
      nodeId,
      hostname: hostname(),
      engineVersion: productVersion.version,
      engineLabels: labels,
      network,
      hostResolver,
      tlsInfo,
      logger: logger.child({ room: 'executor' }),
    });
    return {
      executor,
      witness: network,
      leave: () => executor.leave(),
      [Symbol.asyncDispose]: () => executor[Symbol.asyncDispose](),
    };
  };
}

/** A task's ports lead from all addresses of the host. */
function onAllAddresses({ protocol, targetPort, publishedPort }: HostPort): PublishedPort {
  return { protocol, containerPort: targetPort, hostAddress: '0.0.0.0', hostPort: publishedPort };
}

/** The host's resolver settings, read anew for each container as they may change. */
function hostResolver() {
  return parseResolvConf(readFileSync('/etc/resolv.conf', 'utf8'));
}

function splitLabel(label: string): [string, string] {
  const at = label.indexOf('=');
  return at < 0 ? [label, ''] : [label.slice(0, at), label.slice(at + 1)];
}

function untilSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve(signal));
  });
}
