/**
 * connect-time: connections to virtual IPs that are led to a task when a process makes them, so that no packet of theirs
 * is translated.
 *
 * It owns the programs (connect-time.bpf.c) on the cgroup that holds the containers, and their maps. For TCP and the
 * processes of that cgroup only: all else, and whatever goes wrong here, is left to the containers' nft tables, which
 * know the same services.
 */
export { type ConnectTime, type ConnectTimeMode, type ConnectTimeOptions, openConnectTime } from './connect-time.ts';
