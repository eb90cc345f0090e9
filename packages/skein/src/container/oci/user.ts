/** The `User` of a container: name or number, group, additional groups, looked up in the container's own files. */
import { SkeinError } from '../../common/index.ts';
import type { OciUser } from './types.ts';

interface Account {
  name: string;
  uid: number;
  gid: number;
}

interface Group {
  name: string;
  gid: number;
  members: string[];
}

const rows = (text: string): string[][] =>
  text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(':'));

/** @param text /etc/passwd (passwd(5)). */
function parsePasswd(text: string): Account[] {
  return rows(text).map(([name = '', , uid = '', gid = '']) => ({ name, uid: Number(uid), gid: Number(gid) }));
}

/** @param text /etc/group (group(5)). */
function parseGroup(text: string): Group[] {
  return rows(text).map(([name = '', , gid = '', members = '']) => ({
    name,
    gid: Number(gid),
    members: members.split(','),
  }));
}

const number = (text: string): number | undefined => (/^\d+$/.test(text) ? Number(text) : undefined);
/** Largest ID that the runtime takes (moby/sys user: maxID, 2^31 - 1). */
const maximumId = 2 ** 31 - 1;

function group(groups: readonly Group[], text: string): number {
  const gid = groups.find((entry) => entry.name === text)?.gid ?? number(text);
  if (gid === undefined)
    throw new SkeinError('InvalidArgument', `unable to find group ${text}: no matching entries in group file`);
  return gid;
}

/**
 * Resolves `user[:group]` (moby/sys user GetExecUser). A number without an entry stands for itself, with group 0; a
 * given group leaves out the groups of the group file.
 * @param groupAdd more groups, by name or number.
 */
export function resolveUser(
  user: string,
  files: { passwd: string; group: string },
  groupAdd: readonly string[],
): OciUser & { home: string } {
  const groups = parseGroup(files.group);
  const accounts = parsePasswd(files.passwd);
  const [userText = '', groupText = ''] = user.split(':', 2);
  const wanted = userText === '' ? '0' : userText;
  const account =
    accounts.find((entry) => entry.name === wanted) ?? accounts.find((entry) => entry.uid === number(wanted));
  const uid = account?.uid ?? number(wanted);
  if (uid === undefined) {
    throw new SkeinError('InvalidArgument', `unable to find user ${wanted}: no matching entries in passwd file`);
  }
  const gid = groupText === '' ? (account?.gid ?? 0) : group(groups, groupText);
  if (uid > maximumId || gid > maximumId) {
    throw new SkeinError('InvalidArgument', `uids and gids must be in range 0-${maximumId}`);
  }
  const memberships =
    groupText === '' && account
      ? groups.filter((entry) => entry.members.includes(account.name)).map((entry) => entry.gid)
      : [];
  const additional = [...memberships, ...groupAdd.map((name) => group(groups, name))];
  const home = rows(files.passwd).find(([name]) => name === account?.name)?.[5] ?? '/';
  return { uid, gid, additionalGids: [...new Set([gid, ...additional])], home };
}
