/** Programs: what traffic control runs for every packet of a link, and cgroups for what their processes do with sockets. */
import { closeSync } from 'node:fs';
import { hasCode, SystemError } from '../errors.ts';
import { address } from '../kernel/libc.ts';
import { attempt, call, commands, decodeName, encodeName, programInfo } from './bpf.ts';
import { BpfMap } from './map.ts';

/** enum bpf_prog_type and, where there is one for the type, enum bpf_attach_type, linux/bpf.h */
export const programKinds = {
  'traffic-control': { type: 3, attachType: 0 },
  /** A socket is about to be connected. */
  connect4: { type: 18, attachType: 10 },
  connect6: { type: 18, attachType: 11 },
  /** Somebody asks for a socket's other end. */
  peername4: { type: 18, attachType: 29 },
  peername6: { type: 18, attachType: 30 },
  /** A socket is closed. */
  'socket-release': { type: 9, attachType: 34 },
} as const;
export type BpfProgramKind = keyof typeof programKinds;
/** BOUNDED by the verifier (MAX_USED_MAPS). */
const MAX_MAPS = 64;
/** sizeof(struct bpf_insn) */
export const INSTRUCTION_SIZE = 8;
/** Some of the kernel's helper functions may only be called by programs under this license. */
const defaultLicense = 'GPL';
/** The verifier gives up when a signal arrives meanwhile; it is asked again as often as libbpf does (PROG_LOAD_ATTEMPTS). */
const LOAD_ATTEMPTS = 5;
/** The verifier's whole reasoning about a program that it refuses. */
const LOG_BYTES = 1024 * 1024;
/** Of a log the end says why; so much of it goes into an error's message. */
const LOG_LINES_IN_MESSAGE = 12;
/** The output of a test run: the input and what a program puts before it. */
const TEST_OUTPUT_EXTRA = 512;

/** The kernel refused a program. */
export class BpfVerifierError extends SystemError {
  override readonly name: string = 'BpfVerifierError';
  /** The verifier's log, from the start. */
  readonly log: string;

  constructor(operation: string, errno: number, log: string) {
    const lines = log.trimEnd().split('\n');
    const end = lines.slice(-LOG_LINES_IN_MESSAGE).join('\n');
    super(operation, errno, log === '' ? undefined : `the verifier says:\n${end}`);
    this.log = log;
  }
}

export interface BpfProgramSpec {
  readonly name: string;
  /** Instructions of 8 bytes each, maps in it by their descriptors. */
  readonly instructions: Uint8Array;
  readonly license?: string;
  /** Default `traffic-control`. */
  readonly kind?: BpfProgramKind;
}

/** A loaded program. It lives as long as this object or what it is attached to. */
export class BpfProgram implements Disposable {
  readonly fd: number;
  readonly name: string;
  /** The kernel's number for it. */
  readonly id: number;
  #open = true;

  /** @param fd becomes this object's own, or is closed when it cannot be asked what it is. */
  private constructor(fd: number) {
    this.fd = fd;
    try {
      const info = new Uint8Array(new ArrayBuffer(programInfo.size));
      call(commands.objectInfo, { fd, infoSize: info.length, info: info });
      const known = programInfo.decode(info);
      this.id = known.id;
      this.name = decodeName(known);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /**
   * Loads a program.
   * @throws BpfVerifierError with the verifier's log, when the kernel refuses it.
   */
  static load(spec: BpfProgramSpec): BpfProgram {
    const { name, license: licenseName = defaultLicense, kind = 'traffic-control' } = spec;
    const instructions = new Uint8Array(new ArrayBuffer(spec.instructions.length));
    instructions.set(spec.instructions);
    const license = cString(licenseName);
    const attributes = {
      type: programKinds[kind].type,
      expectedAttachType: programKinds[kind].attachType,
      instructionCount: instructions.length / INSTRUCTION_SIZE,
      instructions: instructions,
      license: license,
      ...encodeName(name),
    };
    for (let attempts = 1; attempts <= LOAD_ATTEMPTS; attempts++) {
      const { error, result } = attempt(commands.programLoad, attributes, name);
      if (error === undefined) return new BpfProgram(result);
      if (!hasCode(error, 'EAGAIN')) break;
    }
    // Once more, for the reason.
    const log = new Uint8Array(new ArrayBuffer(LOG_BYTES));
    const logged = { ...attributes, logLevel: 1, logSize: log.length, log: log };
    const again = attempt(commands.programLoad, logged, name);
    if (again.error === undefined) return new BpfProgram(again.result);
    throw new BpfVerifierError(again.error.operation, again.error.errno, textOf(log));
  }

  /** Opens a program by the kernel's number. @returns undefined when it has gone. */
  static byId(id: number): BpfProgram | undefined {
    try {
      return new BpfProgram(call(commands.programById, { id }, String(id)).result);
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  /** @returns the maps that the program uses, of the types that are known here. The caller disposes of them. */
  maps(): BpfMap[] {
    const ids = new Uint32Array(new ArrayBuffer(MAX_MAPS * Uint32Array.BYTES_PER_ELEMENT));
    const info = programInfo.encode({ mapCount: MAX_MAPS, mapIds: address(new Uint8Array(ids.buffer)) });
    call(commands.objectInfo, { fd: this.fd, infoSize: info.length, info });
    using opened = new DisposableStack();
    const { mapCount } = programInfo.decode(info);
    const maps = [...ids.slice(0, mapCount)].flatMap((id) => opened.use(BpfMap.byId(id)) ?? []);
    opened.move();
    return maps;
  }

  /** Runs the program once on a frame, without any link. @returns its verdict and the frame as it left it. */
  test(frame: Uint8Array): { verdict: number; frame: Uint8Array } {
    const input = new Uint8Array(new ArrayBuffer(frame.length));
    input.set(frame);
    const output = new Uint8Array(new ArrayBuffer(frame.length + TEST_OUTPUT_EXTRA));
    const { answer } = call(
      commands.programTestRun,
      {
        programFd: this.fd,
        inputSize: input.length,
        outputSize: output.length,
        input: input,
        output: output,
        repeat: 1,
      },
      this.name,
    );
    return { verdict: answer.result | 0, frame: output.slice(0, answer.outputSize) };
  }

  /** Closes the descriptor; where the program is attached it stays. Safe to repeat. */
  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.fd);
  }
}

function cString(text: string): Uint8Array {
  const bytes = new Uint8Array(new ArrayBuffer(Buffer.byteLength(text) + 1));
  bytes.set(Buffer.from(text));
  return bytes;
}

function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return Buffer.from(bytes.buffer, bytes.byteOffset, end < 0 ? bytes.length : end).toString('utf8');
}
