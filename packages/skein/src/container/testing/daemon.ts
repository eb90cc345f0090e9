/** A daemon for tests that is there to be killed: opens the runtime, starts containers one after the other, and stays. */
import { EventBus, silentLogger } from '../../common/index.ts';
import { type ContainerCreate, type ContainerRuntimeOptions, openContainerRuntime } from '../index.ts';

const { options, specs } = JSON.parse(process.argv[2] ?? '') as {
  options: Pick<ContainerRuntimeOptions, 'stateDirectory' | 'runDirectory' | 'containerd' | 'cgroupParent'>;
  specs: ContainerCreate[];
};
const runtime = await openContainerRuntime({ ...options, events: new EventBus(), logger: silentLogger() });
for (const spec of specs) {
  await runtime.create(spec);
  await runtime.start(spec.id);
  process.stdout.write(`${spec.name}\n`);
}
setInterval(() => undefined, 60_000);
