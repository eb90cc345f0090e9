import { RpcError } from '../../../common/index.ts';
import type { Annotations } from '../../gen/types_pb.js';

/** swarmkit manager/controlapi/common.go: names of services and networks are DNS labels. */
const dnsName = /^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*$/;
const maxDnsName = 63;
/** Names of secrets and configs. */
const fileName = /^[a-zA-Z0-9]+(?:[a-zA-Z0-9-_.]*[a-zA-Z0-9])?$/;
const maxFileName = 64;

/** @returns the name of a service or network. @throws RpcError InvalidArgument */
export function checkName(annotations: Annotations | undefined): string {
  const name = annotations?.name ?? '';
  if (name === '') throw new RpcError('InvalidArgument', 'meta: name must be provided');
  if (!dnsName.test(name)) throw new RpcError('InvalidArgument', 'name must be valid as a DNS name component');
  if (name.length > maxDnsName) throw new RpcError('InvalidArgument', 'name must be 63 characters or fewer');
  return name;
}

/** @returns the name of a secret or config. @throws RpcError InvalidArgument */
export function checkFileName(annotations: Annotations | undefined): string {
  const name = annotations?.name ?? '';
  if (name === '') throw new RpcError('InvalidArgument', 'name must be provided');
  if (name.length > maxFileName || !fileName.test(name))
    throw new RpcError(
      'InvalidArgument',
      'invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]',
    );
  return name;
}
