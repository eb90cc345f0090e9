/**
 * What the kernel does not hold: which sandbox is whose, its IDs and addresses, and the networks as the manager made
 * them. One JSON file for each, written before the kernel objects and removed after them, so that whatever a killed
 * daemon leaves is known to the next one.
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import * as z from 'zod';
import { errorText, type Logger } from '../common/index.ts';
import type { Ipv6Subnet, OverlayNetwork, SandboxSpec } from './types.ts';

/** An endpoint as it was made. */
export interface StoredEndpoint {
  /** Endpoint ID: new with each start of the daemon, since it is the key of a gossip record. */
  readonly id: string;
  /** CIDR. */
  readonly address: string;
  /** CIDR. */
  readonly ipv6Address?: string | undefined;
  readonly mac: string;
  /** The veth's end on the bridge: kept for life. */
  readonly portName: string;
}

export interface StoredSandbox {
  readonly spec: SandboxSpec;
  readonly sandboxId: string;
  /** In the order of `spec.endpoints`. */
  readonly endpoints: readonly StoredEndpoint[];
  readonly gateway: StoredEndpoint | undefined;
}

export interface StoredNetwork {
  readonly network: OverlayNetwork;
  /** ISO 8601. */
  readonly created: string;
  readonly vtep: string;
  readonly dataPathPort: number;
  readonly loadBalancer: StoredEndpoint | undefined;
}

export interface StoredGateway {
  readonly id: string;
  readonly subnet: string;
  readonly gateway: string;
  /** On a host with IPv6. */
  readonly ipv6?: Ipv6Subnet | undefined;
  readonly created: string;
  /** ip_forward was off before. */
  readonly turnedForwardingOn: boolean;
}

/** What every version of these files has: one without it is not ours. */
const endpointShape = z.looseObject({ id: z.string(), address: z.string(), mac: z.string(), portName: z.string() });
const networkShape = z.looseObject({
  id: z.string(),
  name: z.string(),
  subnets: z.array(z.looseObject({ subnet: z.string(), gateway: z.string(), vni: z.number() })),
});
const shapes = {
  sandbox: z.looseObject({
    spec: z.looseObject({
      containerId: z.string(),
      endpoints: z.array(z.looseObject({ network: networkShape, address: z.string() })),
    }),
    sandboxId: z.string(),
    endpoints: z.array(endpointShape),
    gateway: endpointShape.optional(),
  }),
  network: z.looseObject({
    network: networkShape,
    created: z.string(),
    vtep: z.string(),
    dataPathPort: z.number(),
    loadBalancer: endpointShape.optional(),
  }),
  gateway: z.looseObject({ id: z.string(), subnet: z.string(), gateway: z.string(), created: z.string() }),
} as const;

const suffix = '.json';

/** A folder of JSON files, one for each key. */
export class Collection<T> {
  readonly #directory: string;
  readonly #logger: Logger;
  readonly #shape: z.ZodType;
  /** Key → JSON as it is on disk, so that what has not changed is not written again. BOUNDED by the files. */
  readonly #written = new Map<string, string>();

  /** @param shape what a file must have to be a `T`. */
  constructor(directory: string, logger: Logger, shape: z.ZodType = z.unknown()) {
    this.#directory = directory;
    this.#shape = shape;
    this.#logger = logger;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  }

  /** Writes the value so that a crash leaves the old one or the new one. */
  put(key: string, value: T): void {
    const text = JSON.stringify(value);
    if (this.#written.get(key) === text) return;
    const path = this.#path(key);
    const file = openSync(`${path}.new`, 'w', 0o600);
    try {
      writeFileSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(`${path}.new`, path);
    this.#written.set(key, text);
  }

  delete(key: string): void {
    this.#written.delete(key);
    rmSync(this.#path(key), { force: true });
  }

  /** Reads all values. An unreadable file is reported and set aside: its objects are then removed as unknown. */
  all(): Map<string, T> {
    const values = new Map<string, T>();
    for (const name of readdirSync(this.#directory)) {
      if (!name.endsWith(suffix)) continue;
      const path = join(this.#directory, name);
      try {
        values.set(basename(name, suffix), this.#shape.parse(JSON.parse(readFileSync(path, 'utf8'))) as T);
      } catch (error) {
        this.#logger.error({ path, error: errorText(error) }, 'unreadable state file set aside');
        renameSync(path, `${path}.unreadable`);
      }
    }
    return values;
  }

  #path(key: string): string {
    return join(this.#directory, `${key}${suffix}`);
  }
}

export class OverlayState {
  readonly sandboxes: Collection<StoredSandbox>;
  readonly networks: Collection<StoredNetwork>;
  readonly gateway: Collection<StoredGateway>;

  constructor(directory: string, logger: Logger) {
    this.sandboxes = new Collection(join(directory, 'sandboxes'), logger, shapes.sandbox);
    this.networks = new Collection(join(directory, 'networks'), logger, shapes.network);
    this.gateway = new Collection(join(directory, 'gateway'), logger, shapes.gateway);
  }
}
