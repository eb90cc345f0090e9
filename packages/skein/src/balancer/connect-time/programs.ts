/** The compiled programs, their maps, and the cgroup that they are on. */
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  attachToCgroup,
  type BpfMap,
  BpfObject,
  type BpfProgram,
  type CgroupProgramKind,
  cgroupPrograms,
  detachFromCgroup,
} from '@skein/netlink';

/** Names in connect-time.bpf.c; the order is that in which they are put on: connections are noted once all else is there. */
const programNames = {
  skein_release: 'socket-release',
  skein_peer4: 'peername4',
  skein_peer6: 'peername6',
  skein_connect6: 'connect6',
  skein_connect4: 'connect4',
} as const satisfies Record<string, CgroupProgramKind>;
const kinds = Object.entries(programNames);
/** The program that uses all maps. */
const leader = ['skein_connect4', programNames.skein_connect4] as const;
/** Beside this file: in the source tree, and in the bundle. */
const objectPath = fileURLToPath(new URL('./connect-time.bpf.o', import.meta.url));

export class ConnectPrograms implements Disposable {
  readonly services: BpfMap;
  readonly tasks: BpfMap;
  readonly connections: BpfMap;
  readonly #cgroup: string;
  readonly #programs: readonly (readonly [BpfProgram, CgroupProgramKind])[];
  readonly #opened: DisposableStack;
  /** Inode of the cgroup that has the programs. */
  #attachedTo: bigint | undefined;

  private constructor(cgroup: string, object: BpfObject, opened: DisposableStack) {
    this.#cgroup = cgroup;
    this.services = opened.use(object.createMap('services'));
    this.tasks = opened.use(object.createMap('tasks'));
    const connections = opened.use(object.createMap('connections'));
    this.connections = opened.use(earlierMap(cgroup, connections)) ?? connections;
    const { services, tasks } = this;
    const maps = new Map(Object.entries({ services, tasks, connections: this.connections }));
    this.#programs = kinds.map(([name, kind]) => [opened.use(object.loadProgram(name, maps, kind)), kind]);
    this.#opened = opened;
  }

  /**
   * Loads the programs and puts them on the cgroup, which is made if it is not there, in the place of an earlier
   * daemon's: they know no service yet, but the connections that those have led.
   * @throws Error when the programs are not built or the kernel cannot run them.
   */
  static load(cgroup: string): ConnectPrograms {
    const opened = new DisposableStack();
    try {
      mkdirSync(cgroup, { recursive: true });
      const programs = new ConnectPrograms(cgroup, new BpfObject(readFileSync(objectPath)), opened);
      programs.ensureAttached();
      return programs;
    } catch (error) {
      opened.dispose();
      throw error;
    }
  }

  /** The cgroup may have been removed, and made again, while it was empty. */
  ensureAttached(): void {
    mkdirSync(this.#cgroup, { recursive: true });
    const { ino } = statSync(this.#cgroup, { bigint: true });
    if (ino === this.#attachedTo) return;
    for (const [program, kind] of this.#programs) attachToCgroup(this.#cgroup, program, kind);
    this.#attachedTo = ino;
  }

  /** Lets go; the programs stay on the cgroup, and with them the maps. */
  [Symbol.dispose](): void {
    this.#opened.dispose();
  }
}

/** Takes away what an earlier daemon has put on the cgroup. */
export function detachPrograms(cgroup: string): void {
  for (const [name, kind] of kinds.toReversed()) detachFromCgroup(cgroup, name, kind);
}

/** @returns the map of the same name and shape that an earlier daemon's programs use. */
function earlierMap(cgroup: string, { spec }: BpfMap): BpfMap | undefined {
  using opened = new DisposableStack();
  const [name, kind] = leader;
  const programs = cgroupPrograms(cgroup, kind).map((program) => opened.use(program));
  const earlier = programs.find((program) => program.name === name);
  const [found, ...others] = (earlier?.maps() ?? []).toSorted((map) => (isAlike(map.spec, spec) ? -1 : 1));
  for (const other of others) other[Symbol.dispose]();
  if (found !== undefined && isAlike(found.spec, spec)) return found;
  found?.[Symbol.dispose]();
  return undefined;
}

const isAlike = (left: BpfMap['spec'], right: BpfMap['spec']): boolean =>
  (['name', 'type', 'keySize', 'valueSize', 'maximumEntries', 'flags'] as const).every(
    (field) => left[field] === right[field],
  );
