/**
 * Network namespaces: open, create (bind-mounted at a path, so that they outlive every process), enter for one
 * synchronous call, delete.
 *
 * A namespace belongs to a *thread*. `run` moves the calling thread, calls, and moves it back before returning, so
 * no other code of the process ever runs in the wrong place; this is why the call must not be asynchronous. What is
 * opened inside (a socket, a netlink connection) stays in that namespace for its life, wherever it is used.
 */
import { closeSync, existsSync, fstatSync, mkdirSync, openSync, rmSync, statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import { hasCode, SystemError } from './errors.ts';
import {
  AF_INET,
  CLONE_NEWNET,
  MNT_DETACH,
  NSFS_MAGIC,
  SO_NETNS_COOKIE,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOL_SOCKET,
  UMOUNT_NOFOLLOW,
} from './kernel/constants.ts';
import { bindMount, getSocketOption, ioctl, moveUp, setns, socket, unmount, unshare } from './kernel/libc.ts';

/** The calling thread's own namespace, not the process's first thread's. */
const CURRENT = '/proc/thread-self/ns/net';
const EEXIST = 17;
const EINVAL = 22;
/** Mounts may be stacked on one path by a crash and a second creation. BOUNDED: more is somebody else's doing. */
const MAX_STACKED_MOUNTS = 16;

export class NetworkNamespace implements Disposable {
  /** Open descriptor of the namespace; it keeps the namespace alive until disposed. */
  readonly fd: number;
  /** Identity of the namespace: two handles of one namespace have the same inode. */
  readonly inode: bigint;
  /** The path it was opened by. */
  readonly path: string;
  #open = true;

  private constructor(fd: number, path: string) {
    this.fd = fd;
    this.path = path;
    this.inode = fstatSync(fd, { bigint: true }).ino;
  }

  /** The namespace the calling thread is in. */
  static current(): NetworkNamespace {
    return new NetworkNamespace(moveUp(openSync(CURRENT, 'r')), CURRENT);
  }

  /**
   * Opens a namespace by any of its paths: a bind mount, /proc/<pid>/ns/net, /proc/self/fd/<fd>.
   * @throws Error with code ENOENT when nothing is there; SystemError EINVAL when it is not a namespace.
   */
  static open(path: string): NetworkNamespace {
    const fd = moveUp(openSync(path, 'r'));
    if (isNamespaceFile(`/proc/self/fd/${fd}`)) return new NetworkNamespace(fd, path);
    closeSync(fd);
    throw new SystemError(`open network namespace ${path}`, EINVAL, 'not a namespace (nothing is mounted there)');
  }

  /** True when a namespace is bind-mounted at the path. */
  static exists(path: string): boolean {
    return existsSync(path) && isNamespaceFile(path);
  }

  /**
   * Makes a new namespace and bind-mounts it at `path` (the file and its folder are created). The calling thread
   * stays where it is. An empty file without a namespace, which a crash between the two steps leaves, is taken over.
   * Equivalent to `ip netns add`.
   * @param options.loopback bring `lo` up inside (a new namespace has it down).
   * @throws SystemError EEXIST when a namespace, or any file with content, is already there.
   */
  static create(path: string, options: { loopback?: boolean } = {}): NetworkNamespace {
    createMountPoint(path);
    const home = NetworkNamespace.current();
    try {
      unshare(CLONE_NEWNET);
      try {
        bindMount(CURRENT, path);
        if (options.loopback) setLoopbackUp();
      } finally {
        setns(home.fd, CLONE_NEWNET);
      }
      return NetworkNamespace.open(path);
    } catch (error) {
      NetworkNamespace.delete(path);
      throw error;
    } finally {
      home[Symbol.dispose]();
    }
  }

  /**
   * Unmounts the namespace and removes its file. The kernel frees the namespace, and every link in it, when the last
   * process, descriptor or socket in it is gone. Nothing there is no error. Equivalent to `ip netns delete`.
   */
  static delete(path: string): void {
    for (let mounts = 0; mounts < MAX_STACKED_MOUNTS; mounts++) {
      try {
        unmount(path, MNT_DETACH | UMOUNT_NOFOLLOW);
      } catch (error) {
        // EINVAL: no mount is left on the path.
        if (hasCode(error, 'EINVAL', 'ENOENT')) break;
        throw error;
      }
    }
    rmSync(path, { force: true });
  }

  /**
   * Calls `action` with the calling thread inside the namespace, and returns its result.
   * @throws TypeError when `action` returns a promise: what follows its first `await` would run outside.
   */
  run<T>(action: () => T): T {
    if (!this.#open) throw new TypeError(`network namespace ${this.path} is disposed`);
    const home = NetworkNamespace.current();
    let result: T;
    try {
      setns(this.fd, CLONE_NEWNET);
      try {
        result = action();
      } finally {
        setns(home.fd, CLONE_NEWNET);
      }
    } finally {
      home[Symbol.dispose]();
    }
    if (isThenable(result)) {
      throw new TypeError('NetworkNamespace.run: the action must be synchronous, it returned a promise');
    }
    return result;
  }

  /** @returns the number that BPF programs know the namespace by; no other has it before the next reboot (Linux 5.14). */
  cookie(): bigint {
    return this.run(() => {
      const fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
      try {
        const [cookie = 0n] = new BigUint64Array(getSocketOption(fd, SOL_SOCKET, SO_NETNS_COOKIE, 8).slice().buffer);
        return cookie;
      } finally {
        closeSync(fd);
      }
    });
  }

  /** True when both are handles of one namespace. */
  equals(other: NetworkNamespace): boolean {
    return this.inode === other.inode;
  }

  /** Closes the descriptor; the namespace itself stays while something else holds it. Safe to repeat. */
  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.fd);
  }
}

const isNamespaceFile = (path: string): boolean => statfsSync(path).type === NSFS_MAGIC;

const isThenable = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';

/** Creates the file to mount on, or takes over an empty one on which nothing is mounted. */
function createMountPoint(path: string): void {
  mkdirSync(dirname(path), { recursive: true });
  try {
    closeSync(openSync(path, 'wx', 0o444));
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
    const fd = openSync(path, 'r');
    const leftover = !isNamespaceFile(`/proc/self/fd/${fd}`) && fstatSync(fd).isFile() && fstatSync(fd).size === 0;
    closeSync(fd);
    if (!leftover) throw new SystemError(`create network namespace ${path}`, EEXIST);
  }
}

// linux/sockios.h and net/if.h: struct ifreq { char ifr_name[16]; short ifr_flags; … } is 40 bytes
const SIOCSIFFLAGS = 0x8914;
const IFREQ_SIZE = 40;
const IFREQ_FLAGS_OFFSET = 16;
const IFF_UP = 1;

/** Brings `lo` up in the calling thread's namespace: one ioctl, before any netlink connection exists there. */
function setLoopbackUp(): void {
  const request = new ArrayBuffer(IFREQ_SIZE);
  new Uint8Array(request).set(Buffer.from('lo'));
  new Int16Array(request, IFREQ_FLAGS_OFFSET, 1)[0] = IFF_UP;
  const fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  try {
    ioctl(fd, SIOCSIFFLAGS, new Uint8Array(request), 'bring lo up');
  } finally {
    closeSync(fd);
  }
}
