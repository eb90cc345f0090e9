/**
 * What the container room offers: containers and images under containerd. It knows no networks: a container is
 * created into a network namespace that exists already, with the contents of its /etc/hosts and /etc/resolv.conf.
 * Field names are the Docker Engine API's, so that the engine passes them through.
 */
import type { Readable, Writable } from 'node:stream';

/** Docker's `Config` (Engine API `ContainerConfig`), the fields that Skein honours. */
export interface ContainerConfig {
  Hostname: string;
  User: string;
  /** null: the image's. */
  Cmd: string[] | null;
  Entrypoint: string[] | null;
  /** `NAME=value`, added to the image's. */
  Env: string[];
  WorkingDir: string;
  Image: string;
  Labels: Record<string, string>;
  Tty: boolean;
  OpenStdin: boolean;
  /** Whether the end of an attached client's stdin is the end of the process's; default true. */
  StdinOnce?: boolean;
  StopSignal?: string;
  /** Seconds. */
  StopTimeout?: number;
  Healthcheck?: Healthcheck;
  Domainname?: string;
  /** `80/tcp`; the image's are added. */
  ExposedPorts?: Record<string, object>;
  /** Paths of anonymous volumes; the image's are added. */
  Volumes?: Record<string, object> | null;
}

/** Docker's HealthConfig; durations in nanoseconds. */
export interface Healthcheck {
  Test: string[];
  Interval?: number;
  Timeout?: number;
  Retries?: number;
  StartPeriod?: number;
  /** Between probes while it starts. */
  StartInterval?: number;
}

/** One mount, as the Engine API's `Mount`. */
export interface MountSpec {
  Type: 'bind' | 'tmpfs' | 'volume';
  Source?: string;
  Target: string;
  ReadOnly?: boolean;
  BindOptions?: { Propagation?: string; NonRecursive?: boolean; CreateMountpoint?: boolean };
  TmpfsOptions?: { SizeBytes?: number; Mode?: number };
}

/** Docker's `HostConfig`, the fields that Skein honours. */
export interface HostConfig {
  Mounts: MountSpec[];
  /** Bytes; 0 is no limit. */
  Memory: number;
  MemoryReservation: number;
  MemorySwap?: number;
  /** Billionths of a CPU; 0 is no limit. */
  NanoCpus: number;
  /** 0 or -1 is no limit. */
  PidsLimit: number;
  CapAdd: string[];
  CapDrop: string[];
  ReadonlyRootfs: boolean;
  Init: boolean;
  Sysctls: Record<string, string>;
  Ulimits: { Name: string; Soft: number; Hard: number }[];
  OomScoreAdj: number;
  GroupAdd: string[];
  /** Bytes; Docker's default is 64 MiB. */
  ShmSize: number;
  LogConfig: { Type: string; Config: Record<string, string> };
  SecurityOpt: string[];
  /** All capabilities and devices, nothing of /proc and /sys hidden or read-only. */
  Privileged?: boolean;
  Devices?: DeviceMapping[];
  /** `c 1:3 rwm`. */
  DeviceCgroupRules?: string[];
  /** `host`: the host's namespace. */
  PidMode?: string;
  IpcMode?: string;
  UTSMode?: string;
  /** For the OCI runtime. */
  Annotations?: Record<string, string>;
  /** CPU weight, 1024 is the normal one. */
  CpuShares?: number;
  /** Microseconds of CPU time in each period of so many; instead of NanoCpus. */
  CpuQuota?: number;
  CpuPeriod?: number;
  /** Lists as `0-3,7`. */
  CpusetCpus?: string;
  CpusetMems?: string;
  /** What follows is kept and shown; whoever creates the container honours it. */
  NetworkMode?: string;
  Binds?: string[];
  PortBindings?: Record<string, { HostIp: string; HostPort: string }[] | null>;
  PublishAllPorts?: boolean;
  RestartPolicy?: RestartPolicy;
  AutoRemove?: boolean;
  ExtraHosts?: string[];
  Dns?: string[];
  DnsOptions?: string[];
  DnsSearch?: string[];
}

/** One `--device`: a device of the host, or a directory of devices. */
export interface DeviceMapping {
  PathOnHost: string;
  PathInContainer: string;
  /** Of `rwm`; '' is all. */
  CgroupPermissions: string;
}

export interface RestartPolicy {
  /** '' and `no`: never; `always`, `unless-stopped`, `on-failure`. */
  Name: string;
  /** Of `on-failure`; 0 = no limit. */
  MaximumRetryCount: number;
}

/** A file put into the container, such as a secret or a config: path inside, contents, owner and mode. */
export interface ContainerFile {
  path: string;
  contents: Uint8Array;
  uid: number;
  gid: number;
  mode: number;
}

/** Everything that `create` needs. */
export interface ContainerCreate {
  /** 64 hex characters, chosen by the caller, so that it can make the sandbox first. */
  id: string;
  /** Without leading slash. */
  name: string;
  config: ContainerConfig;
  hostConfig: HostConfig;
  /** Path of the container's network namespace (an nsfs file); '' = the host's namespace. */
  networkNamespace: string;
  hosts: string;
  resolvConf: string;
  files?: ContainerFile[];
}

export type ContainerStatus = 'created' | 'running' | 'paused' | 'restarting' | 'removing' | 'exited' | 'dead';

/** Docker's `State` of a container. Times are RFC 3339 with nanoseconds, `0001-01-01T00:00:00Z` = never. */
export interface ContainerState {
  Status: ContainerStatus;
  Running: boolean;
  Paused: boolean;
  Restarting: boolean;
  OOMKilled: boolean;
  Dead: boolean;
  Pid: number;
  ExitCode: number;
  Error: string;
  StartedAt: string;
  FinishedAt: string;
  Health?: { Status: string; FailingStreak: number; Log: HealthLog[] };
}

export interface HealthLog {
  Start: string;
  End: string;
  ExitCode: number;
  Output: string;
}

/** What is known of one container; all but the networks of Docker's ContainerJSON. */
export interface ContainerInspect {
  Id: string;
  Created: string;
  /** Path and Args: the resolved process. */
  Path: string;
  Args: string[];
  State: ContainerState;
  /** Image ID, `sha256:…`. */
  Image: string;
  ResolvConfPath: string;
  HostnamePath: string;
  HostsPath: string;
  LogPath: string;
  /** With leading slash, as Docker shows it. */
  Name: string;
  RestartCount: number;
  Driver: string;
  Platform: string;
  MountLabel: string;
  ProcessLabel: string;
  AppArmorProfile: string;
  ExecIDs: string[] | null;
  /** The whole Docker HostConfig as JSON, with every field that Docker always sends. */
  HostConfig: Record<string, unknown>;
  GraphDriver: { Name: string; Data: Record<string, string> | null };
  Mounts: MountPoint[];
  /** The whole Docker Config as JSON, the image's defaults merged in. */
  Config: Record<string, unknown> & { Labels: Record<string, string>; Image: string; Tty: boolean };
  /** Not sent by Docker: the namespace given at creation. */
  networkNamespace: string;
  SizeRw?: number;
  SizeRootFs?: number;
}

export interface MountPoint {
  Type: string;
  Name?: string;
  Source: string;
  Destination: string;
  Driver?: string;
  Mode: string;
  RW: boolean;
  Propagation: string;
}

export interface LogOptions {
  stdout: boolean;
  stderr: boolean;
  follow: boolean;
  /** Nanoseconds since the epoch; entries before are left out. */
  since?: bigint;
  until?: bigint;
  /** Number of last lines; undefined = all. */
  tail?: number;
  signal?: AbortSignal;
}

export interface LogEntry {
  stream: 'stdout' | 'stderr';
  /** RFC 3339 with nanoseconds. */
  timestamp: string;
  /** With its line end. */
  line: Uint8Array;
}

export interface ExecCreate {
  Cmd: string[];
  Env: string[];
  User: string;
  WorkingDir: string;
  Tty: boolean;
  AttachStdin: boolean;
  AttachStdout: boolean;
  AttachStderr: boolean;
  Privileged: boolean;
  DetachKeys?: string;
}

export interface ExecInspect {
  ID: string;
  Running: boolean;
  ExitCode: number | null;
  ProcessConfig: { tty: boolean; entrypoint: string; arguments: string[]; privileged: boolean; user?: string };
  OpenStdin: boolean;
  OpenStderr: boolean;
  OpenStdout: boolean;
  CanRemove: boolean;
  ContainerID: string;
  DetachKeys: string;
  Pid: number;
}

/** The streams of a started process. With a TTY there is no stderr. Ending stdin closes the process's input. */
export interface ProcessStreams {
  stdin: Writable | undefined;
  stdout: Readable;
  stderr: Readable | undefined;
}

export interface Execs {
  /** @throws SkeinError NotFound (`No such container: X`), Conflict (`Container X is not running`). */
  create(containerId: string, spec: ExecCreate): Promise<string>;
  /** Starts it attached; streams end when the process does. */
  start(execId: string, size?: TerminalSize): Promise<ProcessStreams>;
  startDetached(execId: string): Promise<void>;
  /**
   * Waits for the exit code of one whose output has ended: clients ask for it at once. A process that closed its output
   * and runs on is waited for 2 s; one that has gone with its container, not at all. @param execId in full.
   */
  waitForExit(execId: string, signal: AbortSignal): Promise<void>;
  resize(execId: string, size: TerminalSize): Promise<void>;
  /** @throws SkeinError NotFound `No such exec instance: X`. */
  inspect(execId: string): ExecInspect;
}

export interface TerminalSize {
  columns: number;
  rows: number;
}

export interface RegistryAuth {
  username?: string;
  password?: string;
  identitytoken?: string;
  serveraddress?: string;
}

/** One line of Docker's JSON progress stream (`{"status": …, "progressDetail": …, "id": …}`). */
export interface PullProgress {
  status: string;
  id?: string;
  progressDetail?: { current?: number; total?: number };
}

/** Docker's ImageInspect and image summary as JSON. */
export type ImageInspect = Record<string, unknown> & { Id: string; RepoTags: string[]; RepoDigests: string[] };
export type ImageSummary = Record<string, unknown> & { Id: string; RepoTags: string[] | null };

export interface Images {
  /** Yields progress; ends when the image is there. @throws SkeinError with Docker's words (`manifest for X not found: …`, `pull access denied …`). */
  pull(reference: string, options: { auth?: RegistryAuth; signal?: AbortSignal }): AsyncIterable<PullProgress>;
  /** Loads a `docker save` or OCI archive. Yields Docker's stream lines (`Loaded image: …`). */
  load(archive: Readable, signal?: AbortSignal): AsyncIterable<{ stream: string }>;
  /** `docker import`: a root file system tar as a one-layer image. @returns the image ID. */
  import(archive: Readable, options: { reference?: string; changes: string[]; message: string }): Promise<string>;
  list(filters: Filters, options: { all: boolean; digests: boolean }): Promise<ImageSummary[]>;
  /** @returns all images with what each shares with others (`SharedSize`), and the bytes of all layers together. */
  usage(): Promise<{ images: ImageSummary[]; layersSize: number }>;
  /** @throws SkeinError NotFound `No such image: X:latest`. */
  inspect(reference: string): Promise<ImageInspect>;
  history(reference: string): Promise<Record<string, unknown>[]>;
  tag(source: string, target: string): Promise<void>;
  /** @returns Docker's `[{"Untagged": …}, {"Deleted": …}]`. */
  remove(
    reference: string,
    options: { force: boolean; noPrune: boolean },
  ): Promise<({ Untagged: string } | { Deleted: string })[]>;
  /** The digest and platforms that a registry has for a reference (GET /distribution/X/json). */
  resolve(
    reference: string,
    auth?: RegistryAuth,
  ): Promise<{ descriptor: Record<string, unknown>; platforms: { architecture: string; os: string }[] }>;
}

/** Engine API filters: name → accepted values. */
export type Filters = Readonly<Record<string, readonly string[]>>;

/** Facts for `docker info` and `docker version`. */
export interface RuntimeInfo {
  containerdVersion: string;
  containerdCommit: string;
  runcVersion: string;
  snapshotter: string;
  containers: { total: number; running: number; paused: number; stopped: number };
  images: number;
  cgroupDriver: string;
  cgroupVersion: '1' | '2';
  securityOptions: string[];
}

/** Docker's Volume. */
export interface Volume {
  CreatedAt: string;
  Driver: string;
  Labels: Record<string, string> | null;
  Mountpoint: string;
  Name: string;
  Options: Record<string, string> | null;
  Scope: string;
}

/** Volumes of this host: directories that outlive containers. */
export interface Volumes {
  /** @param request.name '' = one is made up. @returns also a volume that is there already. */
  create(request: {
    name: string;
    driver: string;
    labels: Record<string, string>;
    options: Record<string, string>;
  }): Promise<Volume>;
  /** @throws SkeinError NotFound `get X: no such volume`. */
  inspect(name: string): Promise<Volume>;
  list(): Promise<Volume[]>;
  /** IDs of the containers that have it mounted, running or not. */
  users(name: string): readonly string[];
  /** @throws SkeinError Conflict while containers have it. */
  remove(name: string, options: { force: boolean }): Promise<void>;
  /** In bytes. */
  size(name: string): Promise<number>;
}

/** Docker's ContainerPathStat; `mode` has the bits of Go's fs.FileMode. */
export interface PathStat {
  name: string;
  size: number;
  mode: number;
  mtime: string;
  linkTarget: string;
}

/** 0 modified, 1 added, 2 deleted. */
export interface FileChange {
  Path: string;
  Kind: number;
}

/** What a container uses at a moment. Times in nanoseconds, sizes in bytes. */
export interface ContainerStats {
  read: string;
  cpu: {
    total: number;
    kernel: number;
    user: number;
    periods: number;
    throttledPeriods: number;
    throttledTime: number;
    /** Of all processors, since the host's start. */
    system: number;
    online: number;
  };
  memory: { usage: number; maximum: number; limit: number; stats: Record<string, number> };
  pids: number;
  networks: Record<string, Record<string, number>>;
  blockIo: { major: number; minor: number; op: string; value: number }[];
}

/** `docker cp`. Paths are those in the container; a stopped container shows its own file system without its mounts. */
export interface ContainerFiles {
  /** @throws SkeinError NotFound `Could not find the file X in container Y`. */
  stat(id: string, path: string): Promise<PathStat>;
  /** Gives the path's tar archive to `target`, and ends it when `signal` aborts. */
  read(id: string, path: string, target: (archive: Readable) => Promise<void>, signal: AbortSignal): Promise<void>;
  /** Unpacks a tar archive into a directory. */
  write(id: string, path: string, archive: Readable, options: { keepKinds: boolean }): Promise<void>;
  /** `docker diff`. */
  changes(id: string): Promise<FileChange[]>;
}

export type WaitCondition = 'not-running' | 'next-exit' | 'removed';

/**
 * Containers and images of this host. Everything is keyed by the 64-hex ID; `find` resolves names and prefixes.
 * State survives a restart of the daemon: running containers run on and are found again.
 */
export interface ContainerRuntime extends AsyncDisposable {
  readonly images: Images;
  readonly execs: Execs;
  readonly volumes: Volumes;
  readonly files: ContainerFiles;
  info(): Promise<RuntimeInfo>;
  /** @returns the ID for an ID, unique prefix or name. @throws SkeinError NotFound `No such container: X`, InvalidArgument on an ambiguous prefix. */
  find(reference: string): string;
  create(spec: ContainerCreate): Promise<void>;
  start(id: string): Promise<void>;
  /** SIGTERM (or the stop signal), then SIGKILL after `timeout` seconds. @throws SkeinError NotModified if it is not running. */
  stop(id: string, options?: { timeout?: number; signal?: string }): Promise<void>;
  kill(id: string, signal: string): Promise<void>;
  restart(id: string, options?: { timeout?: number }): Promise<void>;
  pause(id: string): Promise<void>;
  unpause(id: string): Promise<void>;
  /** @throws SkeinError Conflict when another container has the name. */
  rename(id: string, name: string): Promise<void>;
  /** @param options.volumes false keeps its anonymous volumes. @throws SkeinError Conflict when it runs and force is false. */
  remove(id: string, options: { force: boolean; volumes?: boolean }): Promise<void>;
  /** Takes another network namespace and other files for the next start; of a running container, the files at once. */
  setNetwork(id: string, network: { networkNamespace: string; hosts: string; resolvConf: string }): Promise<void>;
  /** Shows that a stopped container will be started again, or no longer. `count`: how often that has happened. */
  setRestarting(id: string, restarting: boolean, count: number): Promise<void>;
  /** Changes limits, at once if it runs, and what is kept of the host config. */
  update(id: string, change: Partial<HostConfig>): Promise<void>;
  inspect(id: string, options?: { size?: boolean }): Promise<ContainerInspect>;
  list(): Promise<ContainerInspect[]>;
  /** Resolves with the exit code. */
  wait(id: string, condition: WaitCondition, signal?: AbortSignal): Promise<{ exitCode: number; error: string }>;
  logs(id: string, options: LogOptions): AsyncIterable<LogEntry>;
  /**
   * Streams of the main process: output from now on, and its stdin when it was created with OpenStdin. Of a container
   * that does not run, those of its next run.
   */
  attach(id: string, options: { stdin: boolean }): Promise<ProcessStreams>;
  resize(id: string, size: TerminalSize): Promise<void>;
  /** Undefined while it does not run. */
  stats(id: string): Promise<ContainerStats | undefined>;
  /** `ps` in the container: titles and rows, as `docker top` shows. */
  top(id: string, psArguments: string): Promise<{ Titles: string[]; Processes: string[][] }>;
}
