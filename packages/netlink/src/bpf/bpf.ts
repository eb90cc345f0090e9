/** bpf(2): one system call, a command, and for each command a struct of its own (union bpf_attr, linux/bpf.h). */
import { SystemError } from '../errors.ts';
import { address, bpf } from '../kernel/libc.ts';
import { type FieldType, type Struct, type StructValue, struct } from '../wire/struct.ts';

/** BPF_OBJ_NAME_LEN: names of maps and programs, their end included. */
const NAME_LENGTH = 16;

/** Kernel objects made here are found again by name. @throws RangeError for a name that the kernel would refuse. */
export function encodeName(name: string): Pick<StructValue<typeof nameFields>, 'nameLow' | 'nameHigh'> {
  if (!/^[A-Za-z0-9_.]*$/.test(name) || name.length >= NAME_LENGTH) throw new RangeError(`invalid BPF name: ${name}`);
  const bytes = new Uint8Array(NAME_LENGTH);
  bytes.set(Buffer.from(name, 'latin1'));
  const [nameLow = 0n, nameHigh = 0n] = new BigUint64Array(bytes.buffer);
  return { nameLow, nameHigh };
}

/** @returns the name in a struct's two halves. */
export function decodeName({ nameLow, nameHigh }: { nameLow: bigint; nameHigh: bigint }): string {
  const bytes = Buffer.from(new BigUint64Array([nameLow, nameHigh]).buffer);
  const end = bytes.indexOf(0);
  return bytes.toString('latin1', 0, end < 0 ? NAME_LENGTH : end);
}

/** char name[16] */
const nameFields = { nameLow: 'u64', nameHigh: 'u64' } as const;

/** A command: its number in enum bpf_cmd and the fields of its attributes, in the header's order. */
interface Command<F extends Record<string, FieldType>> {
  readonly number: number;
  readonly operation: string;
  readonly attributes: Struct<F>;
}

function command<const F extends Record<string, FieldType>>(number: number, operation: string, fields: F): Command<F> {
  return { number, operation, attributes: struct(fields) };
}

const element = { mapFd: 'u32', padding: 'u32', key: 'u64', value: 'u64', flags: 'u64' } as const;
const batch = {
  inBatch: 'u64',
  outBatch: 'u64',
  keys: 'u64',
  values: 'u64',
  count: 'u32',
  mapFd: 'u32',
  elementFlags: 'u64',
  flags: 'u64',
} as const;
const attachment = {
  targetIndex: 'u32',
  programFd: 'u32',
  attachType: 'u32',
  flags: 'u32',
  replacedFd: 'u32',
  relativeFd: 'u32',
  expectedRevision: 'u64',
} as const;

export const commands = {
  mapCreate: command(0, 'BPF_MAP_CREATE', {
    type: 'u32',
    keySize: 'u32',
    valueSize: 'u32',
    maximumEntries: 'u32',
    flags: 'u32',
    innerMapFd: 'u32',
    numaNode: 'u32',
    // The name lies at byte 28, where no u64 can: it is given as words.
    name0: 'u32',
    name1: 'u32',
    name2: 'u32',
    name3: 'u32',
  }),
  mapLookup: command(1, 'BPF_MAP_LOOKUP_ELEM', element),
  mapUpdate: command(2, 'BPF_MAP_UPDATE_ELEM', element),
  mapDelete: command(3, 'BPF_MAP_DELETE_ELEM', element),
  programLoad: command(5, 'BPF_PROG_LOAD', {
    type: 'u32',
    instructionCount: 'u32',
    instructions: 'u64',
    license: 'u64',
    logLevel: 'u32',
    logSize: 'u32',
    log: 'u64',
    kernelVersion: 'u32',
    flags: 'u32',
    ...nameFields,
    interfaceIndex: 'u32',
    expectedAttachType: 'u32',
  }),
  programAttach: command(8, 'BPF_PROG_ATTACH', attachment),
  programDetach: command(9, 'BPF_PROG_DETACH', attachment),
  programTestRun: command(10, 'BPF_PROG_TEST_RUN', {
    programFd: 'u32',
    result: 'u32',
    inputSize: 'u32',
    outputSize: 'u32',
    input: 'u64',
    output: 'u64',
    repeat: 'u32',
    durationNs: 'u32',
  }),
  programById: command(13, 'BPF_PROG_GET_FD_BY_ID', { id: 'u32', nextId: 'u32', openFlags: 'u32' }),
  mapById: command(14, 'BPF_MAP_GET_FD_BY_ID', { id: 'u32', nextId: 'u32', openFlags: 'u32' }),
  objectInfo: command(15, 'BPF_OBJ_GET_INFO_BY_FD', { fd: 'u32', infoSize: 'u32', info: 'u64' }),
  programQuery: command(16, 'BPF_PROG_QUERY', {
    targetIndex: 'u32',
    attachType: 'u32',
    queryFlags: 'u32',
    attachFlags: 'u32',
    programIds: 'u64',
    count: 'u32',
    padding: 'u32',
    programAttachFlags: 'u64',
    linkIds: 'u64',
    linkAttachFlags: 'u64',
    revision: 'u64',
  }),
  mapLookupBatch: command(24, 'BPF_MAP_LOOKUP_BATCH', batch),
  mapUpdateBatch: command(26, 'BPF_MAP_UPDATE_BATCH', batch),
  mapDeleteBatch: command(27, 'BPF_MAP_DELETE_BATCH', batch),
} as const;

/** struct bpf_prog_info up to the name. */
export const programInfo = struct({
  type: 'u32',
  id: 'u32',
  tag: 'u64',
  jitedSize: 'u32',
  translatedSize: 'u32',
  jited: 'u64',
  translated: 'u64',
  loadTime: 'u64',
  createdByUid: 'u32',
  mapCount: 'u32',
  mapIds: 'u64',
  ...nameFields,
});

/** struct bpf_map_info up to the name. */
export const mapInfo = struct({
  type: 'u32',
  id: 'u32',
  keySize: 'u32',
  valueSize: 'u32',
  maximumEntries: 'u32',
  flags: 'u32',
  ...nameFields,
});

/** What a call returned (a descriptor, where the command makes one), or why it failed, and the attributes afterwards. */
export interface Answer<F extends Record<string, FieldType>> {
  readonly result: number;
  readonly error: SystemError | undefined;
  readonly answer: StructValue<F>;
}

/** What a command is given: numbers, and buffers where the kernel wants the address of one. */
export type Attributes<F extends Record<string, FieldType>> = { [K in keyof F]?: StructValue<F>[K] | Uint8Array };

/** The buffers of the call that is being made: the kernel knows them by address only, so the collector must not have them. */
const buffersInUse = new Set<Uint8Array>();

/** Makes the call. */
export function attempt<F extends Record<string, FieldType>>(
  { number, operation, attributes }: Command<F>,
  value: Attributes<F>,
  subject = '',
): Answer<F> {
  const given = Object.entries<StructValue<F>[keyof F] | Uint8Array | undefined>(value);
  for (const [, field] of given) if (field instanceof Uint8Array) buffersInUse.add(field);
  const numbers = given.map(([name, field]) => [name, field instanceof Uint8Array ? address(field) : field]);
  const bytes = attributes.encode(Object.fromEntries(numbers) as Partial<StructValue<F>>);
  try {
    const result = bpf(number, bytes, subject === '' ? operation : `${operation} ${subject}`);
    return { result, error: undefined, answer: attributes.decode(bytes) };
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    return { result: -1, error, answer: attributes.decode(bytes) };
  } finally {
    buffersInUse.clear();
  }
}

/** As `attempt`. @throws SystemError when it fails. */
export function call<F extends Record<string, FieldType>>(
  command: Command<F>,
  value: Attributes<F>,
  subject = '',
): Answer<F> {
  const answer = attempt(command, value, subject);
  if (answer.error !== undefined) throw answer.error;
  return answer;
}
