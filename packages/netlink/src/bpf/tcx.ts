/**
 * tcx (Linux 6.6): a link's list of programs, run in order for every packet that comes in or goes out. What is attached
 * here belongs to the link and not to the process: it stays when the process ends, and goes with the link. One's own
 * programs are found again by their names.
 */
import { hasCode } from '../errors.ts';
import type { NetworkNamespace } from '../namespace.ts';
import { call, commands } from './bpf.ts';
import { BpfProgram } from './program.ts';

/** enum bpf_attach_type, linux/bpf.h */
const attachTypes = { ingress: 46, egress: 47 } as const;
export type TcxDirection = keyof typeof attachTypes;

const BPF_F_REPLACE = 1 << 2;
/** BPF_MPROG_MAX: no link has more. */
const MAX_PROGRAMS = 64;

/** What a program says to traffic control: go on with the next program and the packet's way; drop it. */
export const TCX_NEXT = -1;
export const TCX_DROP = 2;

export interface TcxTarget {
  readonly namespace: NetworkNamespace;
  /** The link's index in that namespace. */
  readonly index: number;
  readonly direction: TcxDirection;
}

/** @returns the programs of the link in order. The caller disposes of them. */
export function tcxPrograms({ namespace, index, direction }: TcxTarget): BpfProgram[] {
  const ids = new Uint32Array(new ArrayBuffer(MAX_PROGRAMS * Uint32Array.BYTES_PER_ELEMENT));
  const { answer } = namespace.run(() =>
    call(commands.programQuery, {
      targetIndex: index,
      attachType: attachTypes[direction],
      programIds: new Uint8Array(ids.buffer),
      count: MAX_PROGRAMS,
    }),
  );
  using opened = new DisposableStack();
  const programs = [...ids.slice(0, answer.count)].flatMap((id) => opened.use(BpfProgram.byId(id)) ?? []);
  // Only now are they the caller's: one that cannot be opened takes the others with it.
  opened.move();
  return programs;
}

/**
 * Makes `program` be on the link, once, in the place of the one of the same name or behind all others. Between old and
 * new no packet goes without. Equivalent to `bpftool net attach tcx_ingress …`.
 * @throws SystemError EINVAL, EOPNOTSUPP where the kernel has no tcx; ENODEV when the link has gone.
 */
export function attachTcx(target: TcxTarget, program: BpfProgram): void {
  using opened = new DisposableStack();
  const present = tcxPrograms(target).map((known) => opened.use(known));
  const [before, ...more] = present.filter(({ name }) => name === program.name);
  for (const surplus of more) detach(target, surplus);
  if (before?.id === program.id) return;
  const { namespace, index, direction } = target;
  const replacement = before === undefined ? {} : { flags: BPF_F_REPLACE, replacedFd: before.fd };
  namespace.run(() =>
    call(
      commands.programAttach,
      { targetIndex: index, programFd: program.fd, attachType: attachTypes[direction], ...replacement },
      `${program.name} to link ${index}`,
    ),
  );
}

/** Takes the programs of this name off the link. No error when there is none, or no link. */
export function detachTcx(target: TcxTarget, name: string): void {
  using opened = new DisposableStack();
  try {
    const present = tcxPrograms(target).map((known) => opened.use(known));
    for (const program of present) if (program.name === name) detach(target, program);
  } catch (error) {
    // Neither a link that has gone nor a kernel without tcx has programs.
    if (!hasCode(error, 'ENODEV', 'EINVAL', 'EOPNOTSUPP', 'ENOSYS')) throw error;
  }
}

function detach({ namespace, index, direction }: TcxTarget, program: BpfProgram): void {
  try {
    namespace.run(() =>
      call(
        commands.programDetach,
        { targetIndex: index, programFd: program.fd, attachType: attachTypes[direction] },
        `${program.name} from link ${index}`,
      ),
    );
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'ENODEV')) throw error;
  }
}
