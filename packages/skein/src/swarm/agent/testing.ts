/** What the agent's tests share: an executor that runs nothing, and remembers what it was asked to do. */
import { create } from '@bufbuild/protobuf';
import type { Node, Task } from '../gen/objects_pb.js';
import { type EncryptionKey, type NodeDescription, NodeDescriptionSchema, type WeightedPeer } from '../gen/types_pb.js';
import type { ContainerFacts, Dependencies, Executor, TaskController, TaskLogEntry, TaskLogOptions } from './types.ts';

/** A controller whose "container" exits when the test says so. */
export class FakeController implements TaskController {
  readonly calls: string[] = [];
  task: Task;
  /** Replaced by tests to fail or to take long. */
  preparing: (signal: AbortSignal) => Promise<void> = async () => {};
  starting: (signal: AbortSignal) => Promise<void> = async () => {};
  removing: () => Promise<void> = async () => {};
  logLines: string[] = [];
  readonly #exit = Promise.withResolvers<void>();

  constructor(task: Task) {
    this.task = task;
    this.#exit.promise.catch(() => {});
  }

  exit(error?: Error): void {
    if (error === undefined) this.#exit.resolve();
    else this.#exit.reject(error);
  }

  update(task: Task): void {
    this.calls.push('update');
    this.task = task;
  }

  async prepare(signal: AbortSignal): Promise<void> {
    this.calls.push('prepare');
    await this.preparing(signal);
  }

  async start(signal: AbortSignal): Promise<void> {
    this.calls.push('start');
    await this.starting(signal);
  }

  async wait(signal: AbortSignal): Promise<void> {
    this.calls.push('wait');
    await Promise.race([this.#exit.promise, aborted(signal)]);
  }

  async shutdown(): Promise<void> {
    this.calls.push('shutdown');
  }

  async remove(): Promise<void> {
    this.calls.push('remove');
    await this.removing();
  }

  async containerFacts(): Promise<ContainerFacts | undefined> {
    return { containerId: `container-of-${this.task.id}`, pid: 4711, exitCode: 0 };
  }

  async portStatus(): Promise<undefined> {}

  async *logs({ signal, follow }: TaskLogOptions): AsyncGenerator<TaskLogEntry> {
    for (const line of this.logLines) {
      yield { stream: 'stdout', timestamp: '2026-03-04T05:06:07.123456789Z', line: Buffer.from(line) };
    }
    if (follow) await aborted(signal).catch(() => {});
  }
}

export class FakeExecutor implements Executor {
  readonly controllers = new Map<string, FakeController>();
  /** What the session told, in order. */
  readonly told: string[] = [];
  description: NodeDescription = create(NodeDescriptionSchema, {
    hostname: 'fake',
    platform: { architecture: 'x86_64', os: 'linux' },
  });
  node: Node | undefined;
  /** Prepares a controller before the agent sees it. */
  made: (controller: FakeController, dependencies: Dependencies) => void = () => {};

  async describe(): Promise<NodeDescription> {
    return this.description;
  }

  async configure(node: Node): Promise<void> {
    this.told.push('node');
    this.node = node;
  }

  async setManagers(managers: readonly WeightedPeer[]): Promise<void> {
    this.told.push(`managers ${managers.length}`);
  }

  async setNetworkKeys(keys: readonly EncryptionKey[]): Promise<void> {
    this.told.push(`keys ${keys.length}`);
  }

  controller(task: Task, dependencies: Dependencies): TaskController {
    const controller = new FakeController(task);
    this.made(controller, dependencies);
    this.controllers.set(task.id, controller);
    return controller;
  }
}

/** Rejects when `signal` aborts. */
export function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
