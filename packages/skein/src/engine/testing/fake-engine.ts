/** An engine over fakes, on a socket in a directory of its own, with the reference prints of a real dockerd as data. */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EventBus, SkeinError, silentLogger } from '../../common/index.ts';
import type { LocalContainers, PublishedPort } from '../../local/types.ts';
import type { GatewayNetwork, LocalNetwork, OverlayDriver, OverlayNetwork, SandboxState } from '../../overlay/types.ts';
import { startEngine } from '../server.ts';
import type { EngineServer } from '../types.ts';
import { FakeSwarmNode } from './fake-cluster.ts';
import { FakeRuntime, fakeContainer } from './fake-runtime.ts';
import { reference } from './reference.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  readonly json: unknown;
}

/** What `docker` printed, and how it ended. */
export interface Print {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

/** No plain containers, no bridges. */
export function fakeLocal(): LocalContainers {
  const unused = async (): Promise<never> => {
    throw new SkeinError('Unimplemented', 'the fake has no plain containers');
  };
  return {
    adopt: unused,
    isPlain: () => false,
    create: unused,
    start: unused,
    stop: unused,
    kill: unused,
    restart: unused,
    rename: unused,
    remove: unused,
    setRestartPolicy: unused,
    networking: () => undefined,
    connect: unused,
    disconnect: unused,
    bridges: () => [],
    bridgeEndpoints: () => [],
    createBridge: unused,
    removeBridge: unused,
    [Symbol.asyncDispose]: async () => {},
  };
}

class FakeNetworking {
  sandboxStates: SandboxState[] = [];
  localNetworks: LocalNetwork[] = [];
  gateway: GatewayNetwork | undefined;

  contract(): OverlayDriver {
    const unused = async (): Promise<never> => {
      throw new Error('the engine must not change networks');
    };
    return {
      adopt: unused,
      joinCluster: unused,
      leaveCluster: unused,
      createSandbox: unused,
      removeSandbox: unused,
      setLoadBalancerAddresses: unused,
      sandbox: (containerId) => this.sandboxStates.find((sandbox) => sandbox.containerId === containerId),
      sandboxes: () => this.sandboxStates,
      networks: () => this.localNetworks,
      gatewayNetwork: () => this.gateway,
      hasIpv6: () => false,
      [Symbol.asyncDispose]: async () => {},
    };
  }
}

export class FakeEngine implements AsyncDisposable {
  readonly runtime = new FakeRuntime(reference.imageInspect, reference.imageSummary);
  readonly swarm = new FakeSwarmNode(reference.caCertificate);
  readonly networking = new FakeNetworking();
  readonly local = fakeLocal();
  readonly taskPorts = new Map<string, readonly PublishedPort[]>();
  readonly events = new EventBus();
  readonly directory = mkdtempSync(join(tmpdir(), 'skein-engine-'));
  readonly socketPath = join(this.directory, 'docker.sock');
  #server: EngineServer | undefined;

  static async start(): Promise<FakeEngine> {
    const engine = new FakeEngine();
    engine.#server = await startEngine({
      socketPath: engine.socketPath,
      runtime: engine.runtime,
      networking: engine.networking.contract(),
      local: engine.local,
      taskPorts: (id) => engine.taskPorts.get(id) ?? [],
      swarm: engine.swarm,
      events: engine.events,
      logger: silentLogger(),
      version: { version: '0.1.0', gitCommit: 'abcdef0', buildTime: '2026-11-25T00:00:00Z' },
      host: {
        id: 'f3b0c442-98fc-1c14-9afb-f4c8996fb924',
        hostname: 'node1',
        dataRoot: '/var/lib/skein',
        labels: [],
        debug: false,
        started: new Date(),
      },
      diagnosis: { gossip: () => undefined },
    });
    return engine;
  }

  /** Adds a running container that is on `network`. */
  addContainer(id: string, name: string, network: OverlayNetwork): void {
    this.runtime.containers.set(id, fakeContainer(reference.containerInspect, id, name));
    const endpoint = {
      id: 'e'.repeat(64),
      network,
      address: '10.0.1.4/24',
      mac: '02:42:0a:00:01:04',
      interfaceName: 'eth0',
      aliases: [id.slice(0, 12)],
    };
    const gateway = { id: 'd'.repeat(64), address: '172.18.0.3/16', mac: '02:42:ac:12:00:03', interfaceName: 'eth1' };
    this.networking.sandboxStates.push({
      containerId: id,
      containerName: name,
      sandboxId: 'b'.repeat(64),
      networkNamespace: `/run/skein/netns/${id.slice(0, 12)}`,
      endpoints: [endpoint],
      gateway,
    });
    this.networking.localNetworks.push({
      network,
      created: new Date(),
      endpoints: [{ containerId: id, containerName: name, endpoint }],
      peers: [{ name: 'f15fc682712c', address: '172.31.1.5' }],
    });
    this.networking.gateway = {
      id: 'a'.repeat(64),
      name: 'docker_gwbridge',
      subnet: '172.18.0.0/16',
      gateway: '172.18.0.1',
      created: new Date(),
      endpoints: [{ containerId: id, endpoint: gateway }],
    };
  }

  /** Runs the real docker CLI against the engine. */
  docker(...words: string[]): Promise<Print> {
    return this.dockerWithInput(undefined, ...words);
  }

  dockerWithInput(input: string | undefined, ...words: string[]): Promise<Print> {
    const environment = {
      PATH: process.env.PATH ?? '',
      HOME: this.directory,
      DOCKER_HOST: `unix://${this.socketPath}`,
    };
    return new Promise((resolve, reject) => {
      const child = execFile('docker', words, { env: environment, timeout: 20_000 }, (error, stdout, stderr) => {
        if (error !== null && typeof error.code !== 'number') reject(error);
        else resolve({ stdout, stderr, exitCode: typeof error?.code === 'number' ? error.code : 0 });
      });
      child.stdin?.end(input);
    });
  }

  /** One plain request; `body` is sent as JSON unless it is a text. */
  async request(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const payload = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const sent = request(
        {
          socketPath: this.socketPath,
          method,
          path,
          headers: { ...(payload === undefined ? {} : { 'Content-Type': 'application/json' }), ...headers },
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () => {
            const text = Buffer.concat(chunks).toString('latin1');
            resolve({
              status: response.statusCode ?? 0,
              headers: response.headers,
              text,
              get json() {
                return JSON.parse(text) as unknown;
              },
            });
          });
        },
      );
      sent.on('error', reject);
      sent.end(payload);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Whether the real docker CLI is on this machine. */
export const hasDockerCli = (process.env.PATH ?? '')
  .split(':')
  .some((directory) => existsSync(join(directory, 'docker')));
