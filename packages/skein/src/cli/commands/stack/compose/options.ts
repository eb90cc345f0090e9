/** Options of a service that a swarm has no use for (docker/cli: UnsupportedProperties, `tmpfs` is Skein's own word). */
export const unsupportedOptions = [
  'build',
  'cgroupns_mode',
  'cgroup_parent',
  'devices',
  'domainname',
  'external_links',
  'ipc',
  'links',
  'mac_address',
  'network_mode',
  'pid',
  'privileged',
  'restart',
  'security_opt',
  'shm_size',
  'tmpfs',
  'userns_mode',
];

/** Options that version 3 dropped, and why nobody misses them (docker/cli: DeprecatedProperties). */
export const deprecatedOptions: Readonly<Record<string, string>> = {
  container_name: 'Setting the container name is not supported.',
  expose:
    "Exposing ports is unnecessary - services on the same network can access each other's containers on any port.",
};

/** Options that version 3 says in another way (docker/cli: ForbiddenProperties). */
export const forbiddenOptions: Readonly<Record<string, string>> = {
  extends: 'Support for `extends` is not implemented yet.',
  volume_driver:
    'Instead of setting the volume driver on the service, define a volume using the top-level `volumes` option and specify the driver there.',
  volumes_from:
    'To share a volume between services, define it using the top-level `volumes` option and reference it from each service that shares it using the service-level `volumes` option.',
  cpu_quota: 'Set resource limits using deploy.resources',
  cpu_shares: 'Set resource limits using deploy.resources',
  cpuset: 'Set resource limits using deploy.resources',
  mem_limit: 'Set resource limits using deploy.resources',
  memswap_limit: 'Set resource limits using deploy.resources',
};

/** Options that have no effect and are not looked into. `restart` has one where `deploy` has no restart policy. */
export const ignoredOptions: ReadonlySet<string> = new Set(
  [...unsupportedOptions, ...Object.keys(deprecatedOptions), 'depends_on'].filter((option) => option !== 'restart'),
);
