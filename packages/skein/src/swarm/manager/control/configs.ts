import { clone, create } from '@bufbuild/protobuf';
import { newObjectId, RpcError } from '../../../common/index.ts';
import { type Config, ConfigSchema } from '../../gen/objects_pb.js';
import { type ConfigSpec, ConfigSpecSchema } from '../../gen/specs_pb.js';
import type { ReadTransaction } from '../../store/index.ts';
import type { Control } from '../types.ts';
import { find, get, startFrom } from './lookup.ts';
import { checkFileName } from './names.ts';
import type { ControlOptions } from './options.ts';

/** swarmkit api/validation: MaxConfigSize. */
const maxConfigBytes = 1000 * 1024;

type ConfigControl = Pick<Control, 'createConfig' | 'findConfig' | 'updateConfig' | 'removeConfig'>;

export function configControl({ store }: ControlOptions): ConfigControl {
  return {
    createConfig: (spec) =>
      store.update((tx) => {
        const name = checkConfigSpec(spec);
        if (tx.findByName('config', name)) throw new RpcError('AlreadyExists', `config ${name} already exists`);
        const config = create(ConfigSchema, { id: newObjectId(), spec: clone(ConfigSpecSchema, spec) });
        tx.create('config', config);
        return config;
      }),
    findConfig: (reference) => store.view((tx) => find(tx, 'config', reference)),
    updateConfig: (id, version, spec) =>
      store.update((tx) => {
        const config = clone(ConfigSchema, get(tx, 'config', id));
        const sameData =
          spec.data.length === 0 || Buffer.compare(spec.data, config.spec?.data ?? new Uint8Array()) === 0;
        if (!config.spec?.annotations || config.spec.annotations.name !== spec.annotations?.name || !sameData)
          throw new RpcError('InvalidArgument', 'only updates to Labels are allowed');
        startFrom(config, version);
        config.spec.annotations.labels = { ...spec.annotations.labels };
        tx.update('config', config);
        return config;
      }),
    removeConfig: (id) =>
      store.update((tx) => {
        const config = get(tx, 'config', id);
        refuseUsed(tx, config);
        tx.delete('config', id);
      }),
  };
}

/** @returns the name. */
function checkConfigSpec(spec: ConfigSpec): string {
  const name = checkFileName(spec.annotations);
  if (spec.data.length === 0 || spec.data.length >= maxConfigBytes)
    throw new RpcError('InvalidArgument', `config data must be larger than 0 and less than ${maxConfigBytes} bytes`);
  return name;
}

function refuseUsed(tx: ReadTransaction, config: Config): void {
  const users = tx.list('service').filter(({ spec }) => {
    const runtime = spec?.task?.runtime;
    return runtime?.case === 'container' && runtime.value.configs.some(({ configId }) => configId === config.id);
  });
  if (users.length === 0) return;
  const names = users.map(({ spec }) => spec?.annotations?.name).join(', ');
  throw new RpcError(
    'InvalidArgument',
    `config '${config.spec?.annotations?.name}' is in use by the following service${users.length > 1 ? 's' : ''}: ${names}`,
  );
}
