import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerConfig, HostConfig } from '../types.ts';
import { availableCapabilities, containerCapabilities, defaultCapabilities } from './capabilities.ts';
import { deviceRule, givenDevices } from './devices.ts';
import { bindModes, containerMounts, mountPoint, validateMounts } from './mounts.ts';
import { commandOf, environmentOf, mergeConfig } from './process.ts';
import { defaultSeccomp } from './seccomp.ts';
import { resourcesOf, securityOptions } from './spec.ts';
import { resolveUser } from './user.ts';

const own = (more: Partial<ContainerConfig>): ContainerConfig => ({
  Hostname: 'h',
  User: '',
  Cmd: null,
  Entrypoint: null,
  Env: [],
  WorkingDir: '',
  Image: 'i',
  Labels: {},
  Tty: false,
  OpenStdin: false,
  ...more,
});
const image = {
  Entrypoint: ['/entry'],
  Cmd: ['default'],
  Env: ['A=image', 'B=image'],
  Labels: { l: 'image', m: 'image' },
};

const rules: [string, Partial<ContainerConfig>, string[]][] = [
  ['the image’s entrypoint and command', {}, ['/entry', 'default']],
  ['a command replaces the image’s', { Cmd: ['own'] }, ['/entry', 'own']],
  ['an entrypoint drops the image’s command', { Entrypoint: ['/own'] }, ['/own']],
  ['both', { Entrypoint: ['/own'], Cmd: ['arg'] }, ['/own', 'arg']],
  ['an empty entrypoint clears the image’s', { Entrypoint: [''], Cmd: ['own'] }, ['own']],
];
for (const [name, config, command] of rules) {
  test(`entrypoint: ${name}`, () => assert.deepEqual(commandOf(mergeConfig(own(config), image)), command));
}

test('no command at all is refused', () => {
  assert.throws(() => commandOf(mergeConfig(own({}), {})), /No command specified/);
  assert.throws(() => commandOf(mergeConfig(own({ Entrypoint: [''] }), image)), /No command specified/);
});

test('environment and labels of the container win over the image’s', () => {
  const merged = mergeConfig(own({ Env: ['A=own'], Labels: { l: 'own' } }), image);
  assert.deepEqual(merged.Env, ['A=own', 'B=image']);
  assert.deepEqual(merged.Labels, { l: 'own', m: 'image' });
  const env = environmentOf({ hostname: 'h', tty: true, env: ['PATH=/x', 'A=1', 'HOSTNAME'] });
  assert.deepEqual(env, ['PATH=/x', 'TERM=xterm', 'A=1']);
});

test('users are found by name, number and group', () => {
  const files = { passwd: 'root:x:0:0::/root:\nu:x:5:6::/home/u:\n', group: 'g:x:6:\nmore:x:7:u,other\nadd:x:8:\n' };
  const resolve = (user: string, add: string[] = []): unknown => resolveUser(user, files, add);
  assert.deepEqual(resolve(''), { uid: 0, gid: 0, additionalGids: [0], home: '/root' });
  assert.deepEqual(resolve('u'), { uid: 5, gid: 6, additionalGids: [6, 7], home: '/home/u' });
  assert.deepEqual(resolve('5', ['add']), { uid: 5, gid: 6, additionalGids: [6, 7, 8], home: '/home/u' });
  assert.deepEqual(resolve('u:more'), { uid: 5, gid: 7, additionalGids: [7], home: '/home/u' });
  assert.deepEqual(resolve('99:98'), { uid: 99, gid: 98, additionalGids: [98], home: '/' });
  assert.throws(() => resolve('nobody'), /unable to find user nobody: no matching entries in passwd file/);
  assert.throws(() => resolve('u:none'), /unable to find group none: no matching entries in group file/);
  assert.throws(() => resolve('4294967295'), /uids and gids must be in range/);
});

test('capabilities are added and dropped as Docker does', () => {
  assert.deepEqual(containerCapabilities([], []), defaultCapabilities);
  assert.deepEqual(containerCapabilities(['chown', 'CAP_NET_ADMIN'], ['ALL']), ['CAP_CHOWN', 'CAP_NET_ADMIN']);
  const available = availableCapabilities();
  assert.deepEqual(
    containerCapabilities(['ALL'], ['SYS_ADMIN']),
    available.filter((name) => name !== 'CAP_SYS_ADMIN'),
  );
  assert.ok(!containerCapabilities([], ['NET_RAW']).includes('CAP_NET_RAW'));
  assert.throws(() => containerCapabilities(['FLY'], []), /invalid capability: "FLY"/);
});

test('seccomp allows more with a capability, and refuses namespaces without', () => {
  const namesOf = (capabilities: string[]): Set<string> =>
    new Set(
      defaultSeccomp(capabilities, 'x64')
        .syscalls.filter((rule) => rule.action === 'SCMP_ACT_ALLOW' && !rule.args)
        .flatMap((rule) => rule.names),
    );
  const plain = namesOf([...defaultCapabilities]);
  for (const name of ['read', 'execve', 'futex', 'ptrace', 'arch_prctl', 'chroot', 'statx'])
    assert.ok(plain.has(name), name);
  for (const name of ['mount', 'bpf', 'reboot', 'init_module', 'keyctl', 'unshare', 'clone', 'clone3'])
    assert.ok(!plain.has(name), name);
  assert.ok(namesOf(['CAP_SYS_ADMIN']).has('mount'));
  const { syscalls } = defaultSeccomp([], 'x64');
  assert.ok(syscalls.some(({ names, errnoRet }) => names[0] === 'clone3' && errnoRet === 38));
});

test('limits become cgroup resources', () => {
  const host = { Memory: 100, MemoryReservation: 50, NanoCpus: 1.5e9, PidsLimit: -1 } as HostConfig;
  const { memory, cpu, pids } = resourcesOf(host, { swapLimit: true });
  assert.deepEqual(memory, { limit: 100, swap: 200, reservation: 50 });
  assert.deepEqual(cpu, { period: 100_000, quota: 150_000 });
  assert.equal(pids, undefined);
  assert.equal(resourcesOf(host, { swapLimit: false }).memory?.swap, undefined);
});

test('devices are looked up on the host, and rules are read', async () => {
  const asked = (more: Partial<HostConfig>) => givenDevices(more as HostConfig);
  const mapping = { PathOnHost: '/dev/null', PathInContainer: '/dev/nothing', CgroupPermissions: 'r' };
  const { devices, rules } = await asked({ Devices: [mapping], DeviceCgroupRules: ['c 10:* rw'] });
  assert.deepEqual(devices, [{ path: '/dev/nothing', type: 'c', major: 1, minor: 3, fileMode: 0o666, uid: 0, gid: 0 }]);
  assert.deepEqual(rules[0], { allow: false, access: 'rwm' });
  assert.deepEqual(rules.slice(-2), [
    { allow: true, type: 'c', major: 1, minor: 3, access: 'r' },
    { allow: true, type: 'c', major: 10, access: 'rw' },
  ]);
  const all = await asked({ Privileged: true });
  assert.deepEqual(all.rules, [{ allow: true, access: 'rwm' }]);
  assert.ok(all.devices.some(({ path }) => path === '/dev/full'));
  assert.ok(!all.devices.some(({ path }) => /^\/dev\/(pts|shm|console)/.test(path)));
  const gathering =
    /^error gathering device information while adding custom device "\/(dev\/no|etc\/hosts)": (no such|not a)/;
  for (const PathOnHost of ['/dev/no', '/etc/hosts'])
    await assert.rejects(asked({ Devices: [{ ...mapping, PathOnHost }] }), { message: gathering });
  assert.throws(() => deviceRule('c 1 rw'), { message: "invalid device cgroup rule format: 'c 1 rw'" });
});

test('a user’s mount replaces a default one; outer mounts come first', () => {
  const mounts = containerMounts({
    hostConfig: {
      ShmSize: 1,
      Mounts: [
        { Type: 'tmpfs', Target: '/a/b/c' },
        { Type: 'bind', Source: '/s', Target: '/a', ReadOnly: true },
        { Type: 'tmpfs', Target: '/dev/shm' },
      ],
    } as unknown as HostConfig,
    etc: new Map([['/host/hosts', '/etc/hosts']]),
    files: new Map(),
    volumeDirectory: '/v',
  });
  const targets = mounts.map(({ destination }) => destination);
  assert.equal(targets.filter((target) => target === '/dev/shm').length, 1);
  assert.ok(targets.indexOf('/a') < targets.indexOf('/a/b/c'));
  assert.deepEqual(mounts.find(({ destination }) => destination === '/a')?.options, ['rbind', 'ro', 'rprivate']);
});

test('a mount shows the mode that the user wrote, and a volume without one Docker’s', () => {
  const modes = bindModes({ Binds: ['/s:/a:ro', 'v:/b:ro,z', 'v:/c', '/s:/d'] } as unknown as HostConfig);
  const shown = (Type: 'bind' | 'volume', Target: string) =>
    mountPoint({ Type, Source: Type === 'bind' ? '/s' : 'v', Target }, '/volumes', modes.get(Target)).Mode;
  assert.deepEqual(
    [shown('bind', '/a'), shown('volume', '/b'), shown('volume', '/c'), shown('bind', '/d')],
    ['ro', 'ro,z', 'z', ''],
  );
});

test('bad mounts and security options are refused with Docker’s words', () => {
  assert.throws(
    () => validateMounts([{ Type: 'bind', Source: 'x', Target: '/a' }]),
    /invalid mount config for type "bind"/,
  );
  assert.throws(() => validateMounts([{ Type: 'tmpfs', Target: 'a' }]), /mount path must be absolute/);
  assert.throws(
    () =>
      validateMounts([
        { Type: 'tmpfs', Target: '/a' },
        { Type: 'tmpfs', Target: '/a' },
      ]),
    /Duplicate mount point: \/a/,
  );
  assert.deepEqual(securityOptions(['no-new-privileges', 'seccomp=unconfined']), {
    seccomp: false,
    noNewPrivileges: true,
  });
  assert.throws(() => securityOptions(['seccomp={}']), /invalid --security-opt/);
});
