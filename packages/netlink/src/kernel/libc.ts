/**
 * The C library, called in-process. Every function here either succeeds or throws a SystemError; numbers that are
 * not the caller's business (lengths of lengths, -1) stay here. All are synchronous and made on the calling thread:
 * `setns` and `unshare` change that thread only, so none may ever be called through koffi's `.async`.
 */
import { closeSync } from 'node:fs';
import koffi from 'koffi';
import { hasCode, SystemError } from '../errors.ts';
import { F_DUPFD_CLOEXEC, O_CLOEXEC, SO_RCVBUF, SO_RCVBUFFORCE, SOL_SOCKET } from './constants.ts';

const libc = koffi.load(null);
const c = {
  socket: libc.func('int socket(int domain, int type, int protocol)'),
  bind: libc.func('int bind(int fd, const void *address, uint32_t length)'),
  connect: libc.func('int connect(int fd, const void *address, uint32_t length)'),
  listen: libc.func('int listen(int fd, int backlog)'),
  setsockopt: libc.func('int setsockopt(int fd, int level, int name, const void *value, uint32_t length)'),
  getsockopt: libc.func('int getsockopt(int fd, int level, int name, void *value, void *length)'),
  // ssize_t is int64_t on every 64-bit Linux; koffi does not know the name.
  send: libc.func('int64_t send(int fd, const void *data, size_t length, int flags)'),
  recv: libc.func('int64_t recv(int fd, void *buffer, size_t length, int flags)'),
  recvfrom: libc.func('int64_t recvfrom(int fd, void *buffer, size_t length, int flags, void *address, void *size)'),
  poll: libc.func('int poll(void *fds, unsigned long count, int timeout)'),
  dup3: libc.func('int dup3(int from, int to, int flags)'),
  // Variadic in its header; here with the argument of F_DUPFD_CLOEXEC.
  fcntl: libc.func('int fcntl(int fd, int command, int argument)'),
  ioctl: libc.func('int ioctl(int fd, unsigned long request, void *argument)'),
  setns: libc.func('int setns(int fd, int type)'),
  unshare: libc.func('int unshare(int flags)'),
  mount: libc.func(
    'int mount(const char *source, const char *target, const char *type, unsigned long flags, void *data)',
  ),
  umount2: libc.func('int umount2(const char *target, int flags)'),
  // Variadic in its header; here with the arguments of bpf(2), which the C library does not name.
  syscall: libc.func('int64_t syscall(int64_t number, int64_t command, void *attributes, uint64_t size)'),
};

const EINTR = 4;
const mallocTrim = optional('int malloc_trim(size_t pad)');

function optional(prototype: string): ((argument: number) => number) | undefined {
  try {
    return libc.func(prototype);
  } catch {
    return undefined;
  }
}

/** Calls until it is not interrupted by a signal; throws when the result is negative. */
function must(operation: string, call: () => number): number {
  for (;;) {
    const result = call();
    if (result >= 0) return result;
    const errno = koffi.errno();
    if (errno !== EINTR) throw new SystemError(operation, errno);
  }
}

export function socket(domain: number, type: number, protocol: number): number {
  return moveUp(must('socket', () => c.socket(domain, type, protocol)));
}

/** Low numbers are left to libraries that know no others: select(2) ends at FD_SETSIZE. */
const FIRST_HIGH_DESCRIPTOR = 1024;

/**
 * Gives an open file a high number, and closes it under the one that it has.
 * @returns the high number; where the process may have none (RLIMIT_NOFILE), the one that it has.
 */
export function moveUp(fd: number): number {
  const high = c.fcntl(fd, F_DUPFD_CLOEXEC, FIRST_HIGH_DESCRIPTOR);
  if (high < 0) return fd;
  closeSync(fd);
  return high;
}

/** Gives the kernel back what was freed; does nothing where the C library is not glibc. */
export function returnFreedMemory(): void {
  mallocTrim?.(0);
}

export function bind(fd: number, address: Uint8Array, operation = 'bind'): void {
  must(operation, () => c.bind(fd, address, address.length));
}

export function connect(fd: number, address: Uint8Array, operation = 'connect'): void {
  must(operation, () => c.connect(fd, address, address.length));
}

export function listen(fd: number, backlog: number): void {
  must('listen', () => c.listen(fd, backlog));
}

/** Sets an option whose value is a C int. */
export function setSocketOption(fd: number, level: number, name: number, value: number | Uint8Array): void {
  const bytes = typeof value === 'number' ? new Uint8Array(new Int32Array([value]).buffer) : value;
  must(`setsockopt ${level}/${name}`, () => c.setsockopt(fd, level, name, bytes, bytes.length));
}

/** Sets the size of the receive buffer; beyond the system's limit (net.core.rmem_max) only with CAP_NET_ADMIN. */
export function setReceiveBuffer(fd: number, bytes: number): void {
  try {
    setSocketOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes);
  } catch (error) {
    if (!hasCode(error, 'EPERM')) throw error;
    setSocketOption(fd, SOL_SOCKET, SO_RCVBUF, bytes);
  }
}

/** Reads an option of `size` bytes. */
export function getSocketOption(fd: number, level: number, name: number, size: number): Uint8Array {
  const value = new Uint8Array(size);
  const length = new Uint32Array([size]);
  must(`getsockopt ${level}/${name}`, () => c.getsockopt(fd, level, name, value, length));
  return value.subarray(0, length[0]);
}

export function send(fd: number, data: Uint8Array, flags = 0): number {
  return must('send', () => c.send(fd, data, data.length, flags));
}

/** Receives one datagram; with MSG_TRUNC in `flags` the result may exceed the buffer. */
export function receive(fd: number, buffer: Uint8Array, flags = 0): number {
  return must('recv', () => c.recv(fd, buffer, buffer.length, flags));
}

/** Receives one datagram and its sender's sockaddr (as many bytes as `address` holds). */
export function receiveFrom(fd: number, buffer: Uint8Array, flags: number, address: Uint8Array): number {
  const size = new Uint32Array([address.length]);
  return must('recvfrom', () => c.recvfrom(fd, buffer, buffer.length, flags, address, size));
}

/** poll(2) on one descriptor; returns the events that are ready, 0 at the time-out. */
export function poll(fd: number, events: number, timeoutMs: number): number {
  // struct pollfd { int fd; short events; short revents; }
  const pollfd = new DataView(new ArrayBuffer(8));
  new Int32Array(pollfd.buffer)[0] = fd;
  new Int16Array(pollfd.buffer)[2] = events;
  must('poll', () => c.poll(new Uint8Array(pollfd.buffer), 1, timeoutMs));
  return new Int16Array(pollfd.buffer)[3] ?? 0;
}

/** Makes `to` another name of the open file behind `from`, one that child processes do not get. */
export function duplicateTo(from: number, to: number): void {
  must('dup3', () => c.dup3(from, to, O_CLOEXEC));
}

export function ioctl(fd: number, request: number, argument: Uint8Array, operation: string): void {
  must(operation, () => c.ioctl(fd, request, argument));
}

export function setns(fd: number, type: number): void {
  must('setns', () => c.setns(fd, type));
}

export function unshare(flags: number): void {
  must('unshare', () => c.unshare(flags));
}

export function bindMount(source: string, target: string): void {
  must(`mount --bind ${source} ${target}`, () => c.mount(source, target, 'none', MS_BIND, null));
}

export function unmount(target: string, flags: number): void {
  must(`umount ${target}`, () => c.umount2(target, flags));
}

/** bpf(2): its number is the machine's own (asm/unistd.h). The kernel may write into `attributes`. */
export function bpf(command: number, attributes: Uint8Array, operation: string): number {
  const number = bpfNumbers[process.arch];
  if (number === undefined) throw new SystemError(operation, ENOSYS);
  return must(operation, () => Number(c.syscall(number, command, attributes, attributes.length)));
}

/** @returns where a buffer lies in memory, for structs that hold pointers. */
export function address(bytes: Uint8Array): bigint {
  return BigInt(koffi.address(bytes));
}

/** __NR_bpf by process.arch */
const bpfNumbers: Readonly<Record<string, number>> = { x64: 321, arm64: 280, riscv64: 280 };
const ENOSYS = 38;

/** linux/mount.h */
const MS_BIND = 0x1000;
