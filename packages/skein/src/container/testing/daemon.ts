/** A daemon for tests that is there to be killed: opens the runtime, creates and starts one container, and stays. */
import { EventBus, silentLogger } from '../../common/index.ts';
import { type ContainerCreate, type ContainerRuntimeOptions, openContainerRuntime } from '../index.ts';

const { options, spec } = JSON.parse(process.argv[2] ?? '') as {
  options: Pick<ContainerRuntimeOptions, 'stateDirectory' | 'runDirectory' | 'containerd' | 'cgroupParent'>;
  spec: ContainerCreate;
};
const runtime = await openContainerRuntime({ ...options, events: new EventBus(), logger: silentLogger() });
await runtime.create(spec);
await runtime.start(spec.id);
process.stdout.write('started\n');
setInterval(() => undefined, 60_000);
