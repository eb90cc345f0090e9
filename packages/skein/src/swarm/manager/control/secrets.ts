import { clone, create } from '@bufbuild/protobuf';
import { newObjectId, RpcError } from '../../../common/index.ts';
import { type Secret, SecretSchema } from '../../gen/objects_pb.js';
import { type SecretSpec, SecretSpecSchema } from '../../gen/specs_pb.js';
import type { ReadTransaction } from '../../store/index.ts';
import type { Control } from '../types.ts';
import { find, get, startFrom } from './lookup.ts';
import { checkFileName } from './names.ts';
import type { ControlOptions } from './options.ts';

/** swarmkit api/validation: MaxSecretSize. */
const maxSecretBytes = 500 * 1024;

type SecretControl = Pick<Control, 'createSecret' | 'findSecret' | 'updateSecret' | 'removeSecret'>;

/** Answers never carry a secret's data. */
export function secretControl({ store }: ControlOptions): SecretControl {
  return {
    createSecret: (spec) =>
      store.update((tx) => {
        const name = checkSecretSpec(spec);
        if (tx.findByName('secret', name)) throw new RpcError('AlreadyExists', `secret ${name} already exists`);
        const secret = create(SecretSchema, { id: newObjectId(), spec: clone(SecretSpecSchema, spec) });
        tx.create('secret', secret);
        return withoutData(secret);
      }),
    findSecret: (reference) => withoutData(store.view((tx) => find(tx, 'secret', reference))),
    updateSecret: (id, version, spec) =>
      store.update((tx) => {
        const secret = clone(SecretSchema, get(tx, 'secret', id));
        const sameData =
          spec.data.length === 0 || Buffer.compare(spec.data, secret.spec?.data ?? new Uint8Array()) === 0;
        if (!secret.spec?.annotations || secret.spec.annotations.name !== spec.annotations?.name || !sameData)
          throw new RpcError('InvalidArgument', 'only updates to Labels are allowed');
        startFrom(secret, version);
        secret.spec.annotations.labels = { ...spec.annotations.labels };
        tx.update('secret', secret);
        return withoutData(secret);
      }),
    removeSecret: (id) =>
      store.update((tx) => {
        const secret = get(tx, 'secret', id);
        refuseUsed(tx, secret);
        tx.delete('secret', id);
      }),
  };
}

function withoutData(secret: Secret): Secret {
  const copy = clone(SecretSchema, secret);
  if (copy.spec) copy.spec.data = new Uint8Array();
  return copy;
}

/** @returns the name. */
function checkSecretSpec(spec: SecretSpec): string {
  const name = checkFileName(spec.annotations);
  if (spec.driver)
    throw new RpcError('Unimplemented', `secret ${name}: secret drivers are not supported; give the secret its data`);
  if (spec.data.length === 0 || spec.data.length >= maxSecretBytes)
    throw new RpcError('InvalidArgument', `secret data must be larger than 0 and less than ${maxSecretBytes} bytes`);
  return name;
}

function refuseUsed(tx: ReadTransaction, secret: Secret): void {
  const users = tx.list('service').filter(({ spec }) => {
    const runtime = spec?.task?.runtime;
    return runtime?.case === 'container' && runtime.value.secrets.some(({ secretId }) => secretId === secret.id);
  });
  if (users.length === 0) return;
  const names = users.map(({ spec }) => spec?.annotations?.name).join(', ');
  throw new RpcError(
    'InvalidArgument',
    `secret '${secret.spec?.annotations?.name}' is in use by the following service${users.length > 1 ? 's' : ''}: ${names}`,
  );
}
