/** /nodes. */
import type { Filters } from '../../container/types.ts';
import type { Node } from '../../swarm/gen/objects_pb.js';
import { NodeSpec_Membership as Membership } from '../../swarm/gen/specs_pb.js';
import { NodeRole } from '../../swarm/gen/types_pb.js';
import { node, nodeSpec } from '../convert/node.ts';
import { matches, matchesLabels, parseFilters } from '../filters.ts';
import { flagParameter, pathParameter, versionParameter } from '../parameters.ts';
import { empty, get, json, post, remove } from '../reply.ts';
import type { Engine, Route } from '../types.ts';

const nodeFilters = ['name', 'id', 'label', 'node.label', 'role', 'membership'];

export function nodeRoutes({ swarm }: Engine): Route[] {
  return [
    get('/nodes', (call) => {
      const filters = parseFilters(call.query.get('filters'), nodeFilters);
      const nodes = swarm.control().store.view((transaction) => transaction.list('node'));
      return json(nodes.filter((each) => nodeMatches(each, filters)).map(node.encode));
    }),
    get('/nodes/:id', (call) => json(node.encode(swarm.control().findNode(pathParameter(call, 'id'))))),
    post('/nodes/:id/update', async (call) => {
      const spec = nodeSpec.decode(await call.json(), 'NodeSpec');
      const version = versionParameter(call);
      const control = swarm.control();
      control.updateNode(control.findNode(pathParameter(call, 'id')).id, version, spec);
      return empty(200);
    }),
    remove('/nodes/:id', (call) => {
      const control = swarm.control();
      control.removeNode(control.findNode(pathParameter(call, 'id')).id, flagParameter(call, 'force'));
      return empty(200);
    }),
  ];
}

function nodeMatches(each: Node, filters: Filters): boolean {
  const role = NodeRole[each.spec?.desiredRole ?? NodeRole.WORKER].toLowerCase();
  const membership = Membership[each.spec?.membership ?? Membership.PENDING].toLowerCase();
  const hostname = each.description?.hostname ?? '';
  const name = each.spec?.annotations?.name ?? '';
  return (
    matches(filters, 'id', (value) => each.id.startsWith(value)) &&
    matches(filters, 'name', (value) => hostname.startsWith(value) || (name !== '' && name.startsWith(value))) &&
    matches(filters, 'role', (value) => role === value) &&
    matches(filters, 'membership', (value) => membership === value) &&
    // `label` is the engine's, `node.label` the swarm's (docs.docker.com, node ls).
    matchesLabels(filters, each.description?.engine?.labels ?? {}) &&
    matchesLabels(filters, each.spec?.annotations?.labels ?? {}, 'node.label')
  );
}
