/** The compiled programs and what of them all networks share. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type BpfMap, BpfObject, type BpfProgram, type NetworkNamespace, tcxPrograms } from '@skein/netlink';

/** Names in fast-path.bpf.c. */
export const programNames = {
  /** At a container's port. */
  send: 'skein_send',
  /** At the gate's end in the host's namespace. */
  leave: 'skein_leave',
  /** At the underlay's link. */
  receive: 'skein_receive',
  /** At the gate's end in the sandbox. */
  enter: 'skein_enter',
} as const;
/** Beside this file: in the source tree, and in the bundle. */
const objectPath = fileURLToPath(new URL('./fast-path.bpf.o', import.meta.url));
const loopbackIndex = 1;

/** A network's own maps and the programs that use them. */
export interface NetworkPrograms extends Disposable {
  readonly ports: BpfMap;
  readonly residents: BpfMap;
  readonly sandbox: BpfMap;
  readonly send: BpfProgram;
  readonly enter: BpfProgram;
}

export class HostPrograms implements Disposable {
  readonly peers: BpfMap;
  readonly endpoints: BpfMap;
  readonly host: BpfMap;
  readonly leave: BpfProgram;
  readonly receive: BpfProgram;
  readonly #object: BpfObject;
  readonly #opened: DisposableStack;

  private constructor(object: BpfObject, opened: DisposableStack) {
    this.#object = object;
    this.peers = opened.use(object.createMap('peers'));
    this.endpoints = opened.use(object.createMap('endpoints'));
    this.host = opened.use(object.createMap('host'));
    const maps = new Map(Object.entries({ peers: this.peers, endpoints: this.endpoints, host: this.host }));
    this.leave = opened.use(object.loadProgram(programNames.leave, maps));
    this.receive = opened.use(object.loadProgram(programNames.receive, maps));
    this.#opened = opened;
  }

  /**
   * Loads what all networks share, and tries what each will need.
   * @throws Error when the programs are not built or the kernel cannot run them.
   */
  static load(host: NetworkNamespace): HostPrograms {
    const opened = new DisposableStack();
    try {
      const programs = new HostPrograms(new BpfObject(readFileSync(objectPath)), opened);
      programs.forNetwork()[Symbol.dispose]();
      // A kernel without tcx refuses the question.
      const target = { namespace: host, index: loopbackIndex, direction: 'ingress' } as const;
      for (const program of tcxPrograms(target)) program[Symbol.dispose]();
      return programs;
    } catch (error) {
      opened.dispose();
      throw error;
    }
  }

  /** Makes a network's maps, empty, and loads its programs. The caller disposes of them. */
  forNetwork(): NetworkPrograms {
    using opened = new DisposableStack();
    const ports = opened.use(this.#object.createMap('ports'));
    const residents = opened.use(this.#object.createMap('residents'));
    const sandbox = opened.use(this.#object.createMap('sandbox'));
    const { peers, endpoints, host } = this;
    const maps = new Map(Object.entries({ peers, endpoints, host, ports, residents, sandbox }));
    const send = opened.use(this.#object.loadProgram(programNames.send, maps));
    const enter = opened.use(this.#object.loadProgram(programNames.enter, maps));
    const kept = opened.move();
    return { ports, residents, sandbox, send, enter, [Symbol.dispose]: () => kept.dispose() };
  }

  [Symbol.dispose](): void {
    this.#opened.dispose();
  }
}
