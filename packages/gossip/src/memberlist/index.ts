/** Who is there: SWIM membership and failure detection, and user messages among members. Knows nothing of networks and tables. */
export type { Channel, ChannelHandler } from './channel.ts';
export { lanConfig, type MemberlistConfig } from './config.ts';
export type { Member, MemberState } from './member.ts';
export { type Delegate, Memberlist, type MemberlistOptions } from './memberlist.ts';
export type { MemberEvents } from './membership.ts';
