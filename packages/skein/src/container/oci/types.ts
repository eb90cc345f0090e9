/** The parts of the OCI runtime specification (config.md, config-linux.md) that Skein writes. */
export interface OciSpec {
  ociVersion: string;
  process: OciProcess;
  root: { path: string; readonly: boolean };
  /** Only with a UTS namespace of its own. */
  hostname?: string;
  mounts: OciMount[];
  linux: OciLinux;
  annotations?: Record<string, string>;
}

export interface OciProcess {
  terminal: boolean;
  consoleSize?: { height: number; width: number };
  user: OciUser;
  args: string[];
  env: string[];
  cwd: string;
  capabilities?: { bounding: string[]; effective: string[]; permitted: string[]; inheritable: string[] };
  rlimits?: { type: string; soft: number; hard: number }[];
  noNewPrivileges?: boolean;
  oomScoreAdj?: number;
}

export interface OciUser {
  uid: number;
  gid: number;
  additionalGids: number[];
}

export interface OciMount {
  destination: string;
  type: string;
  source: string;
  options: string[];
}

/** A device in the container's /dev. */
export interface OciDevice {
  path: string;
  type: 'b' | 'c';
  major: number;
  minor: number;
  fileMode: number;
  uid: number;
  gid: number;
}

/** What the devices cgroup allows or refuses; without major and minor: all of the type. */
export interface DeviceRule {
  allow: boolean;
  type?: string;
  major?: number;
  minor?: number;
  access: string;
}

export interface OciLinux {
  namespaces: { type: string; path?: string }[];
  cgroupsPath: string;
  devices: OciDevice[];
  resources: OciResources;
  sysctl: Record<string, string>;
  maskedPaths: string[];
  readonlyPaths: string[];
  seccomp?: SeccompSpec;
}

export interface OciResources {
  devices?: DeviceRule[];
  memory?: { limit?: number; reservation?: number; swap?: number };
  cpu?: { quota?: number; period?: number; shares?: number; cpus?: string; mems?: string };
  pids?: { limit: number };
}

export interface SeccompSpec {
  defaultAction: string;
  defaultErrnoRet: number;
  architectures?: string[];
  syscalls: SeccompRule[];
}

export interface SeccompRule {
  names: string[];
  action: string;
  errnoRet?: number;
  args?: { index: number; value: number; valueTwo?: number; op: string }[];
}
