/**
 * Programs on a cgroup (version 2): run for what its processes, and those of the cgroups in it, do with sockets that they
 * have made there. What is attached here belongs to the cgroup: it stays when the process ends, and goes with the cgroup.
 * One's own programs are found again by their names.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { hasCode } from '../errors.ts';
import { call, commands } from './bpf.ts';
import { BpfProgram, type BpfProgramKind, programKinds } from './program.ts';

/** What programs on cgroups can be. */
export type CgroupProgramKind = Exclude<BpfProgramKind, 'traffic-control'>;

const BPF_F_ALLOW_MULTI = 1 << 1;
const BPF_F_REPLACE = 1 << 2;
/** BPF_CGROUP_MAX_PROGS, linux/bpf-cgroup.h: no cgroup has more of a kind. */
const MAX_PROGRAMS = 64;

/** @returns the cgroup's own programs of the kind, in order. The caller disposes of them. */
export function cgroupPrograms(path: string, kind: CgroupProgramKind): BpfProgram[] {
  return withCgroup(path, (fd) => programsOf(fd, kind));
}

/**
 * Makes `program` be on the cgroup, once, in the place of the one of the same name or behind all others. Between old and
 * new no call goes without. Equivalent to `bpftool cgroup attach … multi`.
 * @throws SystemError EINVAL where the kernel does not know the kind; EPERM where somebody wants to be alone there.
 */
export function attachToCgroup(path: string, program: BpfProgram, kind: CgroupProgramKind): void {
  withCgroup(path, (targetIndex) => {
    using opened = new DisposableStack();
    const present = programsOf(targetIndex, kind).map((known) => opened.use(known));
    const [before, ...more] = present.filter(({ name }) => name === program.name);
    for (const surplus of more) detach(targetIndex, surplus, kind);
    if (before?.id === program.id) return;
    const replacement =
      before === undefined
        ? { flags: BPF_F_ALLOW_MULTI }
        : { flags: BPF_F_ALLOW_MULTI | BPF_F_REPLACE, replacedFd: before.fd };
    const { attachType } = programKinds[kind];
    const attributes = { targetIndex, programFd: program.fd, attachType, ...replacement };
    call(commands.programAttach, attributes, `${program.name} to ${path}`);
  });
}

/** Takes the programs of this name off the cgroup. No error when there is none, or no cgroup. */
export function detachFromCgroup(path: string, name: string, kind: CgroupProgramKind): void {
  try {
    withCgroup(path, (fd) => {
      using opened = new DisposableStack();
      const present = programsOf(fd, kind).map((known) => opened.use(known));
      for (const program of present) if (program.name === name) detach(fd, program, kind);
    });
  } catch (error) {
    // Neither a cgroup that has gone nor a kernel without such programs has any.
    if (!hasCode(error, 'ENOENT', 'ENODEV', 'EINVAL', 'ENOSYS')) throw error;
  }
}

function withCgroup<T>(path: string, action: (fd: number) => T): T {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return action(fd);
  } finally {
    closeSync(fd);
  }
}

function programsOf(fd: number, kind: CgroupProgramKind): BpfProgram[] {
  const ids = new Uint32Array(new ArrayBuffer(MAX_PROGRAMS * Uint32Array.BYTES_PER_ELEMENT));
  const { attachType } = programKinds[kind];
  const programIds = new Uint8Array(ids.buffer);
  const { answer } = call(commands.programQuery, { targetIndex: fd, attachType, programIds, count: MAX_PROGRAMS });
  using opened = new DisposableStack();
  const programs = [...ids.slice(0, answer.count)].flatMap((id) => opened.use(BpfProgram.byId(id)) ?? []);
  // Only now are they the caller's: one that cannot be opened takes the others with it.
  opened.move();
  return programs;
}

function detach(fd: number, program: BpfProgram, kind: CgroupProgramKind): void {
  const { attachType } = programKinds[kind];
  try {
    call(commands.programDetach, { targetIndex: fd, programFd: program.fd, attachType }, program.name);
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
  }
}
