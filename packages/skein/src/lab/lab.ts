import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SkeinError } from '../common/errors.ts';
import { Host } from './host.ts';
import { type LabPaths, labPaths } from './paths.ts';
import { endProcesses, isRunning, removeCgroups, removeEmptyCgroup } from './processes.ts';
import {
  connectHost,
  createBridge,
  nodeAddresses,
  outsideAddresses,
  type UnderlayKind,
  underlayKinds,
} from './underlay.ts';

/** How long a daemon may take to serve its socket: containerd starts with it. */
const daemonTimeoutMs = 60_000;
const daemonStopTimeoutMs = 15_000;
const pollMs = 50;
/** Addresses .5 to .254. */
const maximumNodes = 250;

/** @returns how many hosts the user wants. @throws SkeinError InvalidArgument for what is no number of a lab's hosts. */
export function numberOfNodes(given: string | number): number {
  const nodes = Number(given);
  if (Number.isInteger(nodes) && nodes >= 1 && nodes <= maximumNodes) return nodes;
  throw new SkeinError('InvalidArgument', `invalid number of nodes "${given}": use 1 to ${maximumNodes}`);
}

export interface LabOptions {
  readonly name: string;
  /** The command that is this skein, to start daemons with. */
  readonly skein: readonly string[];
  /** Folder with the `skein` command, put first in the hosts' PATH. */
  readonly binDirectory?: string;
  /** pino level of the daemons. */
  readonly logLevel?: string;
}

export interface LabHost {
  readonly name: string;
  /** On the underlay; of one that has both families the IPv4 address. */
  readonly address: string;
  /** Pid of its skeind; undefined: not running. */
  readonly daemon: number | undefined;
  readonly dockerHost: string;
}

/** One lab: hosts `node1`…, the underlay between them, and `outside`, which stands for the rest of the world. */
export class Lab {
  readonly paths: LabPaths;
  readonly #options: LabOptions;

  constructor(options: LabOptions) {
    if (!/^[a-z0-9][a-z0-9-]{0,30}$/.test(options.name)) {
      throw new SkeinError(
        'InvalidArgument',
        `invalid lab name "${options.name}": use lower-case letters, digits and hyphens`,
      );
    }
    this.#options = options;
    this.paths = labPaths(options.name);
  }

  /**
   * Makes the hosts and starts a skeind in each. With `daemons: false` the hosts stay empty.
   * @param options.underlay which families the hosts have addresses of; by default IPv4.
   * @throws Error when the lab is up already, or when something does not start (what was made is taken down again).
   */
  async up(options: { nodes: number; daemons?: boolean; underlay?: UnderlayKind }): Promise<LabHost[]> {
    const nodes = numberOfNodes(options.nodes);
    const { underlay = 'ipv4' } = options;
    if (!underlayKinds.includes(underlay))
      throw new SkeinError('InvalidArgument', `invalid underlay "${underlay}": use ${underlayKinds.join(', ')}`);
    if (process.getuid?.() !== 0)
      throw new SkeinError('PermissionDenied', 'a lab makes namespaces and mounts: run it as root');
    if (this.exists())
      throw new SkeinError(
        'AlreadyExists',
        `lab "${this.#options.name}" is up already: see "skein lab ls", end it with "skein lab down"`,
      );
    try {
      await this.#createHosts(nodes, underlay);
      if (options.daemons !== false) await Promise.all(this.hosts().map((host) => this.startDaemon(host.name)));
    } catch (error) {
      await this.down();
      throw error;
    }
    return this.hosts();
  }

  /** Ends every process of the lab and removes its files. Works from any state; no error when there is nothing. */
  async down(): Promise<void> {
    await endProcesses(this.#options.name, this.paths.cgroup);
    removeCgroups(this.paths.cgroup);
    rmSync(this.paths.run, { recursive: true, force: true });
    rmSync(this.paths.data, { recursive: true, force: true });
    for (const parent of [join(this.paths.run, '..'), join(this.paths.data, '..')]) {
      if (existsSync(parent) && readdirSync(parent).length === 0) rmSync(parent, { recursive: true });
    }
    this.#removeEmptyCgroupRoot();
  }

  /** True when the lab has been made and not taken down. */
  exists(): boolean {
    return existsSync(this.paths.run);
  }

  /** The nodes, without the underlay's own hosts. */
  hosts(): LabHost[] {
    const underlay = this.#underlay();
    return this.#nodeNames().map((name, index) => {
      const host = this.host(name);
      const [address = ''] = nodeAddresses(underlay, index);
      return { name, address, daemon: host.daemon, dockerHost: `unix://${host.paths.socket}` };
    });
  }

  /** A host by name, `outside` and `underlay` too. @throws Error when the lab has no such host. */
  host(name: string): Host {
    const nodes = this.#nodeNames();
    const known = nodes.length > 0 ? [...nodes, 'outside', 'underlay'] : [];
    if (!known.includes(name)) {
      throw new SkeinError(
        'NotFound',
        known.length === 0
          ? `lab "${this.#options.name}" is not up: start it with "skein lab up"`
          : `no lab host "${name}": there are ${known.join(', ')}`,
      );
    }
    return new Host(this.#options, this.paths, name);
  }

  /** Starts the host's skeind and waits until it answers. */
  async startDaemon(name: string): Promise<void> {
    const host = this.host(name);
    if (host.daemon !== undefined)
      throw new SkeinError('AlreadyExists', `skeind of ${name} runs already (pid ${host.daemon})`);
    const pid = await host.start(this.#daemonCommand(host), host.paths.log);
    writeFileSync(host.paths.daemonPid, String(pid));
    const deadline = Date.now() + daemonTimeoutMs;
    while (!(await answers(host.paths.socket))) {
      if (!isRunning(pid) || Date.now() > deadline) {
        throw new SkeinError(
          'Unavailable',
          `skeind of ${name} did not start; the end of its log ${host.paths.log}:\n${tail(host.paths.log)}`,
        );
      }
      await sleep(pollMs);
    }
  }

  /** Ends the host's skeind; its containers run on. */
  async stopDaemon(name: string, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const pid = this.host(name).daemon;
    if (pid === undefined) return;
    process.kill(pid, signal);
    const deadline = Date.now() + daemonStopTimeoutMs;
    while (isRunning(pid)) {
      if (Date.now() > deadline) throw new Error(`skeind of ${name} (pid ${pid}) did not end after ${signal}`);
      await sleep(pollMs);
    }
  }

  #daemonCommand(host: Host): string[] {
    const options = ['--data-root', host.paths.data, '--exec-root', '/run/skein', '--host', 'unix:///run/skein.sock'];
    const level = this.#options.logLevel ? ['--log-level', this.#options.logLevel] : [];
    return [
      ...this.#options.skein,
      'daemon',
      ...options,
      '--cgroup-parent',
      `${this.paths.cgroup}/${host.name}`,
      ...level,
    ];
  }

  async #createHosts(nodes: number, underlay: UnderlayKind): Promise<void> {
    const names = Array.from({ length: nodes }, (_, index) => `node${index + 1}`);
    mkdirSync(this.paths.run, { recursive: true });
    writeFileSync(this.#underlayFile(), underlay);
    writeFileSync(this.#nodesFile(), `${names.join('\n')}\n`);
    const { gateways, outside: beyond } = outsideAddresses(underlay);
    const entries = [
      ...names.flatMap((name, index) => nodeAddresses(underlay, index).map((address) => `${address} ${name}\n`)),
      ...beyond.map((address) => `${address} outside\n`),
    ];
    const hosts = `127.0.0.1 localhost\n${entries.join('')}`;
    // No server is there: a lookup is refused at once, as a lab has no way to the internet.
    const servers = gateways.map((address) => `nameserver ${address}\n`).join('');
    const etc = { hosts, resolvConf: `${servers}options timeout:1 attempts:1\n` };
    const bridge = this.host('underlay');
    await bridge.create(etc);
    createBridge(bridge.networkNamespace);
    const outside = this.host('outside');
    await outside.create(etc);
    connectHost(bridge.networkNamespace, {
      namespace: outside.networkNamespace,
      name: 'outside',
      addresses: gateways,
      defaultRoute: false,
    });
    for (const [index, name] of names.entries()) {
      const host = this.host(name);
      await host.create(etc);
      mkdirSync(host.paths.data, { recursive: true });
      connectHost(bridge.networkNamespace, {
        namespace: host.networkNamespace,
        name,
        addresses: nodeAddresses(underlay, index),
        defaultRoute: true,
      });
    }
  }

  /** Without a list there are none: an `up` that was killed had not come that far. */
  #nodeNames(): string[] {
    const file = this.#nodesFile();
    return existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : [];
  }

  #nodesFile(): string {
    return join(this.paths.run, 'nodes');
  }

  /** A lab of an earlier version has no file of it. */
  #underlay(): UnderlayKind {
    const file = this.#underlayFile();
    const text = existsSync(file) ? readFileSync(file, 'utf8').trim() : '';
    return underlayKinds.find((kind) => kind === text) ?? 'ipv4';
  }

  #underlayFile(): string {
    return join(this.paths.run, 'underlay-family');
  }

  #removeEmptyCgroupRoot(): void {
    try {
      removeEmptyCgroup(join(this.paths.cgroup, '..'));
    } catch (error) {
      // Another lab is still in it.
      if (!['EBUSY', 'ENOTEMPTY'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
  }
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

function tail(file: string): string {
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(-20).join('\n') : '';
}
