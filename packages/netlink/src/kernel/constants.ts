/** Constants of the socket and namespace calls, with the header that defines each. */

// bits/socket.h
export const AF_UNSPEC = 0;
export const AF_INET = 2;
/** The kernel's PF_BRIDGE: forwarding databases live under it. */
export const AF_BRIDGE = 7;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;
export const AF_PACKET = 17;

export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
// asm-generic/fcntl.h
export const O_CLOEXEC = 0o2000000;
/** linux/fcntl.h: F_LINUX_SPECIFIC_BASE + 6 */
export const F_DUPFD_CLOEXEC = 1030;

export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;

// asm-generic/socket.h
export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2;
export const SO_ERROR = 4;
export const SO_RCVBUF = 8;
export const SO_REUSEPORT = 15;
export const SO_RCVTIMEO = 20;
export const SO_RCVBUFFORCE = 33;
export const SO_NETNS_COOKIE = 71;

// netinet/in.h
export const IPPROTO_IPV6 = 41;
export const IPV6_V6ONLY = 26;

// poll.h
export const POLLIN = 0x1;
export const POLLOUT = 0x4;

// sched.h
export const CLONE_NEWNET = 0x40000000;

// sys/mount.h
export const MNT_DETACH = 2;
export const UMOUNT_NOFOLLOW = 8;

// linux/magic.h: what statfs(2) says of a file in /proc/<pid>/ns or of a bind mount of one
export const NSFS_MAGIC = 0x6e736673;
