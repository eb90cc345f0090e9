import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mock, test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import type { LoadBalancer } from '../balancer/types.ts';
import { SkeinError, silentLogger } from '../common/index.ts';
import type { ContainerCreate, ContainerInspect, ContainerRuntime } from '../container/types.ts';
import type { Discovery } from '../discovery/types.ts';
import type { OverlayDriver, SandboxState } from '../overlay/types.ts';
import type { Dependencies } from '../swarm/agent/types.ts';
import { TaskSchema } from '../swarm/gen/objects_pb.js';
import { NodeDescriptionSchema } from '../swarm/gen/types_pb.js';
import { ContainerController } from './controller.ts';
import { TaskNetwork } from './task-network.ts';
import { TaskPulls } from './task-pulls.ts';

/** What of a host the test is about. */
const partOf = <T>(part: Partial<T>): T => part as T;
const never = new AbortController().signal;
const failure = (why: string) => async (): Promise<never> => {
  throw new SkeinError('Internal', why);
};

/** A task on a host where what `broken` names fails. */
function scene(
  broken: { runtime?: Partial<ContainerRuntime>; discovery?: Partial<Discovery> },
  networks: string[] = [],
) {
  const sandboxes = new Map<string, SandboxState>();
  const created = new Map<string, ContainerCreate>();
  const overlay = partOf<OverlayDriver>({
    hasIpv6: () => false,
    sandbox: (id) => sandboxes.get(id),
    sandboxes: () => [...sandboxes.values()],
    createSandbox: async ({ containerId, containerName }) => {
      const names = { containerId, containerName, sandboxId: 'sandbox', networkNamespace: '/run/netns' };
      const sandbox = { ...names, endpoints: [], gateway: undefined };
      sandboxes.set(containerId, sandbox);
      return sandbox;
    },
    removeSandbox: async (id) => void sandboxes.delete(id),
  });
  const nothing = async (): Promise<void> => undefined;
  const discovery = partOf<Discovery>({ attach: nothing, detach: nothing, ...broken.discovery });
  const balancer = partOf<LoadBalancer>({
    attach: () => undefined,
    detach: () => undefined,
    closePorts: () => undefined,
    retainPorts: () => undefined,
    returnsToEntrance: () => false,
  });
  const images = { pull: async function* () {} };
  const runtime = partOf<ContainerRuntime>({
    find: (id) => {
      if (created.has(id)) return id;
      throw new SkeinError('NotFound', `No such container: ${id}`);
    },
    create: async (container) => void created.set(container.id, container),
    inspect: async () => ({ State: { Running: false, ExitCode: 0 } }) as ContainerInspect,
    ...broken.runtime,
  });
  const value = { image: 'busybox' };
  const task = create(TaskSchema, {
    id: 'task',
    spec: { runtime: { case: 'container', value } },
    networks: networks.map((name) => ({ network: { driverState: { name } } })),
  });
  const joined = mock.fn<(signal: AbortSignal) => Promise<void>>(nothing);
  const controller = new ContainerController(task, partOf<Dependencies>({}), {
    runtime,
    pulls: new TaskPulls(images),
    network: new TaskNetwork(overlay, discovery, balancer),
    hostResolver: () => ({ nameservers: ['192.0.2.53'], search: ['example.com'], options: [] }),
    node: () => ({ id: 'node', description: create(NodeDescriptionSchema, { hostname: 'node1' }) }),
    logger: silentLogger(),
    joined,
  });
  return { controller, sandboxes, created, joined };
}

test('a task that cannot be prepared leaves no sandbox: its addresses are given to others', async () => {
  const { controller, sandboxes } = scene({ discovery: { attach: failure('no name server there') } });
  await assert.rejects(controller.prepare(never), /no name server there/);
  assert.equal(sandboxes.size, 0);
});

test('a task whose container does not start leaves no sandbox', async () => {
  const { controller, sandboxes } = scene({ runtime: { start: failure('no such file') } });
  await controller.prepare(never);
  assert.equal(sandboxes.size, 1);
  await assert.rejects(controller.start(never), /starting container failed: no such file/);
  assert.equal(sandboxes.size, 0);
});

test('a start that was interrupted, and is tried again, keeps the sandbox', async () => {
  const ending = new AbortController();
  const start = async (): Promise<never> => {
    ending.abort();
    throw new SkeinError('Canceled', 'the daemon ends');
  };
  const { controller, sandboxes } = scene({ runtime: { start } });
  await controller.prepare(never);
  await assert.rejects(controller.start(ending.signal));
  assert.equal(sandboxes.size, 1);
});

/** A container that runs from its start to its stop. */
function running(): Partial<ContainerRuntime> {
  let isRunning = false;
  return {
    inspect: async () => ({ State: { Running: isRunning, ExitCode: 0 } }) as ContainerInspect,
    start: async () => {
      isRunning = true;
    },
    stop: async () => {
      isRunning = false;
    },
  };
}

test('a step that fails while the container runs stops it before its network goes', async () => {
  const wait = failure('containerd has gone');
  for (const step of ['start', 'wait'] as const) {
    const runtime = running();
    const { controller, sandboxes, joined } = scene({ runtime: { ...runtime, wait } });
    await controller.prepare(never);
    await controller.start(never);
    if (step === 'start') joined.mock.mockImplementation(failure('containerd has gone'));
    await assert.rejects(controller[step](never), /containerd has gone/);
    assert.equal(sandboxes.size, 0, step);
    assert.equal((await runtime.inspect?.('task'))?.State.Running, false, step);
  }
});

test('a container that an earlier daemon started is not given up because no manager answers', async () => {
  const { controller, sandboxes, joined } = scene({ runtime: running() });
  await controller.prepare(never);
  await controller.start(never);
  const known = Promise.withResolvers<void>();
  joined.mock.mockImplementation((signal: AbortSignal) => {
    // That of a time limit is one of several.
    if (signal !== never) return Promise.reject(new Error('the time is up'));
    return known.promise.then(() => joined.mock.mockImplementation(async () => undefined));
  });
  const starting = controller.start(never);
  known.resolve();
  await starting;
  assert.equal(sandboxes.size, 1);
});

test('why a task failed is told, not why its sandbox could not be removed', async () => {
  const detach = failure('the name server does not end');
  const { controller } = scene({ runtime: { start: failure('no such file') }, discovery: { detach } });
  await controller.prepare(never);
  await assert.rejects(controller.start(never), /starting container failed: no such file/);
});

test("a task in the host's network has the host's name and asks the host's name servers", async () => {
  const { controller, created, sandboxes } = scene({}, ['host']);
  await controller.prepare(never);
  const container = created.get(controller.containerId);
  assert.equal(sandboxes.size, 0);
  assert.equal(container?.config.Hostname, 'node1');
  assert.equal(container?.hostConfig.NetworkMode, 'host');
  assert.equal(container?.resolvConf, 'search example.com\nnameserver 192.0.2.53\n');
  assert.equal(container?.hosts, readFileSync('/etc/hosts', 'utf8'));
});

test("a task in a network of its own asks Skein's name server", async () => {
  const { controller, created } = scene({});
  await controller.prepare(never);
  const container = created.get(controller.containerId);
  assert.equal(container?.config.Hostname, controller.containerId.slice(0, 12));
  assert.equal(container?.resolvConf, 'search example.com\nnameserver 127.0.0.11\noptions ndots:0\n');
});
