import { create } from '@bufbuild/protobuf';
import { RpcError, SkeinError } from '../../../common/index.ts';
import type { Node } from '../../gen/objects_pb.js';
import { VersionSchema } from '../../gen/types_pb.js';
import type { ReadTransaction, TableName, Tables } from '../../store/index.ts';

/**
 * Finds an object by its ID, its exact name (a node's: its host name) or the beginning of its ID, in this order.
 * @throws SkeinError NotFound, InvalidArgument when several match.
 */
export function find<T extends TableName>(tx: ReadTransaction, table: T, reference: string): Tables[T] {
  const byId = tx.get(table, reference);
  if (byId) return byId;
  const named = findNamed(tx, table, reference);
  const matches =
    named.length > 0 || reference === '' ? named : tx.list(table).filter(({ id }) => id.startsWith(reference));
  if (matches.length > 1)
    throw new SkeinError('InvalidArgument', `${table} ${reference} is ambiguous (${matches.length} matches found)`);
  const [found] = matches;
  if (!found) throw new SkeinError('NotFound', `${table} ${reference} not found`);
  return found;
}

function findNamed<T extends TableName>(tx: ReadTransaction, table: T, name: string): Tables[T][] {
  if (table === 'node')
    return tx.list(table).filter((object) => name !== '' && (object as Node).description?.hostname === name);
  const found = tx.findByName(table, name);
  return found ? [found] : [];
}

/** @returns an object by its ID. @throws RpcError NotFound */
export function get<T extends TableName>(tx: ReadTransaction, table: T, id: string): Tables[T] {
  const found = tx.get(table, id);
  if (!found) throw new RpcError('NotFound', `${table} ${id} not found`);
  return found;
}

/** Says which version of an object the user's change starts from; the store refuses a change of an older one. */
export function startFrom(object: Tables[TableName], index: bigint): void {
  if (object.meta) object.meta.version = create(VersionSchema, { index });
}
