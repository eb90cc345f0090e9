/** Containers for tests. */
import { newHexId } from '../../common/index.ts';
import type { ContainerConfig, ContainerCreate, ContainerFile, HostConfig } from '../types.ts';

const hostConfig: HostConfig = {
  Mounts: [],
  Memory: 0,
  MemoryReservation: 0,
  NanoCpus: 0,
  PidsLimit: 0,
  CapAdd: [],
  CapDrop: [],
  ReadonlyRootfs: false,
  Init: false,
  Sysctls: {},
  Ulimits: [],
  OomScoreAdj: 0,
  GroupAdd: [],
  ShmSize: 67108864,
  LogConfig: { Type: 'json-file', Config: {} },
  SecurityOpt: [],
};

/** What a test wants of a container besides its command. */
export interface Wishes {
  readonly config?: Partial<ContainerConfig>;
  readonly host?: Partial<HostConfig>;
  readonly files?: ContainerFile[];
}

/** @returns a container with an ID and a name of its own. */
export function containerOf(
  command: string[],
  { image, networkNamespace, config, host, files }: Wishes & { image: string; networkNamespace: string },
): ContainerCreate {
  const id = newHexId();
  return {
    id,
    name: `c-${id.slice(0, 8)}`,
    config: {
      Hostname: '',
      User: '',
      Cmd: command,
      Entrypoint: null,
      Env: [],
      WorkingDir: '',
      Image: image,
      Labels: { purpose: 'test' },
      Tty: false,
      OpenStdin: false,
      ...config,
    },
    hostConfig: { ...hostConfig, ...host },
    networkNamespace,
    hosts: '127.0.0.1\tlocalhost\n10.0.9.3\tthe-host\n',
    resolvConf: 'nameserver 127.0.0.11\n',
    ...(files && { files }),
  };
}
