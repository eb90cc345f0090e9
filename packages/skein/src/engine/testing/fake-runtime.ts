/** Containers and images in memory, for the engine's tests. An exec of `cat` copies its input; others print their words. */
import { PassThrough, Readable } from 'node:stream';
import { newHexId, SkeinError } from '../../common/index.ts';
import type {
  ContainerFiles,
  ContainerInspect,
  ContainerRuntime,
  ExecCreate,
  ExecInspect,
  Execs,
  ImageInspect,
  Images,
  LogEntry,
  ProcessStreams,
  RuntimeInfo,
  Volumes,
} from '../../container/types.ts';

const never = '0001-01-01T00:00:00Z';

/** A running container of a task, as the runtime tells it; `reference` is dockerd's own inspection. */
export function fakeContainer(reference: Record<string, unknown>, id: string, name: string): ContainerInspect {
  const { NetworkSettings: _networks, ...rest } = structuredClone(reference);
  const container = rest as unknown as ContainerInspect;
  container.Id = id;
  container.Name = `/${name}`;
  container.Created = new Date(Date.now() - 8_000).toISOString();
  container.State.StartedAt = new Date(Date.now() - 5_000).toISOString();
  container.State.FinishedAt = never;
  container.networkNamespace = `/run/skein/netns/${id.slice(0, 12)}`;
  return container;
}

class FakeExecs implements Execs {
  readonly #execs = new Map<
    string,
    {
      containerId: string;
      spec: ExecCreate;
      exitCode: number | null;
      running: boolean;
      exited: PromiseWithResolvers<void>;
    }
  >();
  readonly resized: string[] = [];

  async create(containerId: string, spec: ExecCreate): Promise<string> {
    const id = newHexId();
    this.#execs.set(id, { containerId, spec, exitCode: null, running: false, exited: Promise.withResolvers() });
    return id;
  }

  async start(id: string): Promise<ProcessStreams> {
    const exec = this.#get(id);
    exec.running = true;
    const [command = '', ...words] = exec.spec.Cmd;
    if (command === 'nosuch') {
      exec.exitCode = 127;
      exec.running = false;
      throw new SkeinError(
        'InvalidArgument',
        `OCI runtime exec failed: exec failed: unable to start container process: exec: "nosuch": executable file not found in $PATH: unknown`,
      );
    }
    const stdin = exec.spec.AttachStdin ? new PassThrough() : undefined;
    const stdout = new PassThrough();
    const stderr = exec.spec.Tty ? undefined : new PassThrough();
    const finish = (): void => {
      stdout.end();
      stderr?.end();
      // The exit is known later than the end of the output, as with containerd.
      setTimeout(() => {
        exec.exitCode = command === 'false' ? 1 : 0;
        exec.running = false;
        exec.exited.resolve();
      }, 50);
    };
    if (command === 'cat' && stdin !== undefined) {
      stdin.on('data', (chunk) => stdout.write(chunk)).on('end', finish);
    } else if (command === 'sleep') {
      // Runs until its container is gone.
    } else {
      stdout.write(`${words.join(' ')}\n`);
      if (command === 'complain') stderr?.write('trouble\n');
      setImmediate(finish);
    }
    return { stdin, stdout, stderr };
  }

  async startDetached(id: string): Promise<void> {
    this.#get(id).exitCode = 0;
  }

  async waitForExit(id: string): Promise<void> {
    await this.#get(id).exited.promise;
  }

  async resize(id: string, { rows, columns }: { rows: number; columns: number }): Promise<void> {
    this.#get(id);
    this.resized.push(`${rows}x${columns}`);
  }

  inspect(id: string): ExecInspect {
    const { containerId, spec, exitCode, running } = this.#get(id);
    return {
      ID: id,
      Running: running,
      ExitCode: exitCode,
      ProcessConfig: { tty: spec.Tty, entrypoint: spec.Cmd[0] ?? '', arguments: spec.Cmd.slice(1), privileged: false },
      OpenStdin: spec.AttachStdin,
      OpenStderr: spec.AttachStderr,
      OpenStdout: spec.AttachStdout,
      CanRemove: false,
      ContainerID: containerId,
      DetachKeys: spec.DetachKeys ?? '',
      Pid: 4343,
    };
  }

  #get(id: string) {
    const exec = this.#execs.get(id);
    if (exec === undefined) throw new SkeinError('NotFound', `No such exec instance: ${id}`);
    return exec;
  }
}

export class FakeRuntime implements ContainerRuntime {
  readonly containers = new Map<string, ContainerInspect>();
  readonly execs = new FakeExecs();
  readonly images: Images;
  logEntries: LogEntry[] = [];
  logFailure: SkeinError | undefined;

  constructor(image: Record<string, unknown>, imageSummary: Record<string, unknown>) {
    this.images = fakeImages(image as ImageInspect, imageSummary);
  }

  async info(): Promise<RuntimeInfo> {
    const running = [...this.containers.values()].filter(({ State }) => State.Running).length;
    return {
      containerdVersion: '1.6.20',
      containerdCommit: '1.6.20~ds1-1+deb12u3',
      runcVersion: '1.1.5+ds1',
      snapshotter: 'overlayfs',
      containers: { total: this.containers.size, running, paused: 0, stopped: this.containers.size - running },
      images: 1,
      cgroupDriver: 'cgroupfs',
      cgroupVersion: '1',
      securityOptions: ['name=seccomp,profile=default'],
    };
  }

  find(reference: string): string {
    const all = [...this.containers.values()];
    const found = all.find(({ Id, Name }) => Id === reference || Name === `/${reference}`);
    const byPrefix = found === undefined ? all.filter(({ Id }) => Id.startsWith(reference)) : [found];
    const [first] = byPrefix;
    if (first === undefined) throw new SkeinError('NotFound', `No such container: ${reference}`);
    return first.Id;
  }

  async create(): Promise<void> {
    throw new SkeinError('Unimplemented', 'the fake creates no containers');
  }
  async start(id: string): Promise<void> {
    this.#set(id, { Status: 'running', Running: true, ExitCode: 0 });
  }
  async stop(id: string): Promise<void> {
    if (!this.#get(id).State.Running) throw new SkeinError('NotModified', `container ${id} is not running`);
    this.#set(id, { Status: 'exited', Running: false, ExitCode: 137, FinishedAt: new Date().toISOString() });
  }
  async kill(id: string): Promise<void> {
    await this.stop(id);
  }
  async restart(id: string): Promise<void> {
    await this.start(id);
  }
  async pause(id: string): Promise<void> {
    this.#set(id, { Status: 'paused', Paused: true });
  }
  async unpause(id: string): Promise<void> {
    this.#set(id, { Status: 'running', Paused: false });
  }
  async rename(id: string, name: string): Promise<void> {
    this.#get(id).Name = `/${name}`;
  }
  async remove(id: string, { force }: { force: boolean }): Promise<void> {
    if (this.#get(id).State.Running && !force) {
      throw new SkeinError(
        'Conflict',
        `You cannot remove a running container ${id}. Stop the container before attempting removal or force remove`,
      );
    }
    this.containers.delete(id);
  }
  async inspect(id: string, options?: { size?: boolean }): Promise<ContainerInspect> {
    return { ...this.#get(id), ...(options?.size === true ? { SizeRw: 10, SizeRootFs: 9_999_245 } : {}) };
  }
  async list(): Promise<ContainerInspect[]> {
    return [...this.containers.values()];
  }
  async wait(id: string): Promise<{ exitCode: number; error: string }> {
    return { exitCode: this.#get(id).State.ExitCode, error: '' };
  }
  logs(): AsyncIterable<LogEntry> {
    if (this.logFailure !== undefined) throw this.logFailure;
    return Readable.from(this.logEntries);
  }
  async attach(): Promise<ProcessStreams> {
    return { stdin: undefined, stdout: Readable.from([Buffer.from('attached\n')]), stderr: undefined };
  }
  async resize(): Promise<void> {}
  readonly volumes: Volumes = {
    create: async ({ name }) => {
      throw new SkeinError('Unimplemented', `the fake creates no volume ${name}`);
    },
    inspect: async (name) => {
      throw new SkeinError('NotFound', `get ${name}: no such volume`);
    },
    list: async () => [],
    users: () => [],
    remove: async (name) => {
      throw new SkeinError('NotFound', `get ${name}: no such volume`);
    },
    size: async () => 0,
  };
  readonly files: ContainerFiles = {
    stat: async (_id, path) => ({ name: path, size: 0, mode: 0o644, mtime: never, linkTarget: '' }),
    read: async () => {},
    write: async () => {},
    changes: async () => [],
  };
  async stats(): Promise<undefined> {}
  async setNetwork(): Promise<void> {}
  async setRestarting(): Promise<void> {}
  async update(): Promise<void> {}
  async top(): Promise<{ Titles: string[]; Processes: string[][] }> {
    return { Titles: ['PID', 'CMD'], Processes: [['1', 'sleep infinity']] };
  }
  async [Symbol.asyncDispose](): Promise<void> {}

  #get(id: string): ContainerInspect {
    const container = this.containers.get(id);
    if (container === undefined) throw new SkeinError('NotFound', `No such container: ${id}`);
    return container;
  }
  #set(id: string, state: Partial<ContainerInspect['State']>): void {
    Object.assign(this.#get(id).State, state);
  }
}

function fakeImages(image: ImageInspect, summary: Record<string, unknown>): Images {
  const known = (reference: string): boolean => ['ubuntu', 'ubuntu:latest', image.Id].includes(reference);
  const require = (reference: string): ImageInspect => {
    if (!known(reference)) throw new SkeinError('NotFound', `No such image: ${reference}:latest`);
    return image;
  };
  return {
    async *pull(reference) {
      if (!known(reference))
        throw new SkeinError('NotFound', `manifest for ${reference} not found: manifest unknown: manifest unknown`);
      yield { status: 'Pulling from library/ubuntu', id: 'latest' };
      yield { status: 'Downloading', id: 'aabbccddeeff', progressDetail: { current: 5, total: 10 } };
      yield { status: `Status: Downloaded newer image for ${reference}` };
    },
    async *load(archive) {
      let length = 0;
      for await (const chunk of archive) length += (chunk as Buffer).length;
      yield { stream: `Loaded image: ubuntu:latest (${length} bytes)\n` };
    },
    import: async (archive) => {
      archive.resume();
      return image.Id;
    },
    list: async () => [summary as never],
    usage: async () => ({ images: [{ ...summary, SharedSize: 0 } as never], layersSize: Number(summary.Size) }),
    inspect: async (reference) => require(reference),
    history: async () => [
      { Id: image.Id, Created: 1795477843, CreatedBy: '', Tags: ['ubuntu:latest'], Size: 1, Comment: '' },
    ],
    tag: async (source) => void require(source),
    remove: async (reference) => {
      require(reference);
      return [{ Untagged: 'ubuntu:latest' }, { Deleted: image.Id }];
    },
    resolve: async () => {
      throw new SkeinError('Unavailable', 'Get "https://registry-1.docker.io/v2/": no such host');
    },
  };
}
