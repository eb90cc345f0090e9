import { BlockList, isIP } from 'node:net';
import { RpcError } from '../../common/index.ts';
import type { Node } from '../gen/objects_pb.js';
import { NodeRole } from '../gen/types_pb.js';

/** A placement constraint: `node.labels.zone == eu`. */
export interface Constraint {
  readonly key: string;
  readonly equal: boolean;
  readonly value: string;
}

/** What keys and values may consist of (swarmkit manager/constraint). */
const keyPattern = /^[a-z_][a-z0-9\-_.]+$/i;
const valuePattern = /^[a-z0-9:\-_\s.*()?+[\]\\^$|/]+$/i;

/** Parses placement constraints. @throws RpcError Unknown, in swarmkit's words. */
export function parseConstraints(texts: readonly string[]): Constraint[] {
  return texts.map((text) => {
    const operator = ['==', '!='].find((candidate) => text.includes(candidate));
    if (!operator) throw new RpcError('Unknown', 'constraint expected one operator from ==, !=');
    const at = text.indexOf(operator);
    const key = text.slice(0, at).trim();
    const value = text.slice(at + operator.length).trim();
    if (!keyPattern.test(key)) throw new RpcError('Unknown', `key '${key}' is invalid`);
    if (!valuePattern.test(value)) throw new RpcError('Unknown', `value '${value}' is invalid`);
    return { key, equal: operator === '==', value };
  });
}

/** @returns whether a node satisfies all constraints. */
export function satisfiesConstraints(node: Node, constraints: readonly Constraint[]): boolean {
  return constraints.every((constraint) => satisfies(node, constraint));
}

function satisfies(node: Node, { key, equal, value }: Constraint): boolean {
  if (key.toLowerCase() === 'node.ip') return matchesAddress(node.status?.addr ?? '', value, equal);
  const actual = nodeProperty(node, key);
  if (actual === undefined) return false;
  return (actual.toLowerCase() === value.toLowerCase()) === equal;
}

/** @returns a node's property by a constraint's key; '' when the node does not tell it, undefined for an unknown key. */
function nodeProperty(node: Node, key: string): string | undefined {
  const folded = key.toLowerCase();
  if (folded.startsWith('node.labels.')) return node.spec?.annotations?.labels[key.slice('node.labels.'.length)] ?? '';
  if (folded.startsWith('engine.labels.'))
    return node.description?.engine?.labels[key.slice('engine.labels.'.length)] ?? '';
  switch (folded) {
    case 'node.id':
      return node.id;
    case 'node.hostname':
      return node.description?.hostname ?? '';
    case 'node.role':
      return node.role === NodeRole.MANAGER ? 'manager' : 'worker';
    case 'node.platform.os':
      return node.description?.platform?.os ?? '';
    case 'node.platform.arch':
      return node.description?.platform?.architecture ?? '';
    default:
      return undefined;
  }
}

/** `node.ip`: one address or a subnet; a malformed one matches no node. */
function matchesAddress(address: string, value: string, equal: boolean): boolean {
  const [base = '', prefix] = value.split('/');
  const version = isIP(base);
  if (version === 0 || (prefix !== undefined && !/^\d+$/.test(prefix))) return false;
  const family = version === 6 ? 'ipv6' : 'ipv4';
  const bits = prefix === undefined ? (version === 6 ? 128 : 32) : Number(prefix);
  if (bits > (version === 6 ? 128 : 32)) return false;
  const list = new BlockList();
  list.addSubnet(base, bits, family);
  return (isIP(address) === version && list.check(address, family)) === equal;
}

/** @returns the value of a spread descriptor (`node.labels.x`, `engine.labels.x`) on a node; '' if it has none. */
export function spreadValue(node: Node, descriptor: string): string {
  return nodeProperty(node, descriptor) ?? '';
}
