/** Docker's Node and NodeSpec ↔ swarmkit's (moby daemon/cluster/convert/node.go). */
import { NodeSchema } from '../../swarm/gen/objects_pb.js';
import {
  NodeSpec_Availability as Availability,
  NodeSpec_Membership,
  NodeSpecSchema,
} from '../../swarm/gen/specs_pb.js';
import {
  EngineDescriptionSchema,
  ManagerStatusSchema,
  NodeCSIInfoSchema,
  NodeDescriptionSchema,
  NodeRole,
  NodeStatus_State as NodeState,
  NodeStatusSchema,
  NodeTLSInfoSchema,
  PlatformSchema,
  PluginDescriptionSchema,
  ManagerStatus_Reachability as Reachability,
  ResourcesSchema,
  TopologySchema,
} from '../../swarm/gen/types_pb.js';
import { always, field, optional, struct, table } from './codec.ts';
import { annotations, genericResource, meta, platform } from './common.ts';
import { bytes, bytesAsText, flag, int64, list, map, text, words } from './values.ts';

/** Unlike other enums, '' is no role and no availability here. */
const role = words({ worker: NodeRole.WORKER, manager: NodeRole.MANAGER }, (word) => `invalid Role: "${word}"`);
const availability = words(
  { active: Availability.ACTIVE, pause: Availability.PAUSE, drain: Availability.DRAIN },
  (word) => `invalid Availability: "${word}"`,
);

const nodeSpecTable = table(NodeSpecSchema, [
  annotations,
  always('Role', 'desiredRole', role),
  always('Availability', 'availability', availability),
]);

/** A node that may be updated has been accepted. */
export const nodeSpec = {
  ...nodeSpecTable,
  decode: (json: unknown, path: string) => {
    const spec = nodeSpecTable.decode(json, path);
    spec.membership = NodeSpec_Membership.ACCEPTED;
    return spec;
  },
};

const engine = table(EngineDescriptionSchema, [
  field('EngineVersion', 'engineVersion', text),
  field('Labels', 'labels', map),
  field(
    'Plugins',
    'plugins',
    list(table(PluginDescriptionSchema, [field('Type', 'type', text), field('Name', 'name', text)])),
  ),
]);

const description = table(NodeDescriptionSchema, [
  field('Hostname', 'hostname', text),
  struct('Platform', 'platform', PlatformSchema, platform),
  struct(
    'Resources',
    'resources',
    ResourcesSchema,
    table(ResourcesSchema, [
      field('NanoCPUs', 'nanoCpus', int64),
      field('MemoryBytes', 'memoryBytes', int64),
      field('GenericResources', 'generic', list(genericResource)),
    ]),
  ),
  struct('Engine', 'engine', EngineDescriptionSchema, engine),
  struct(
    'TLSInfo',
    'tlsInfo',
    NodeTLSInfoSchema,
    table(NodeTLSInfoSchema, [
      field('TrustRoot', 'trustRoot', bytesAsText),
      field('CertIssuerSubject', 'certIssuerSubject', bytes),
      field('CertIssuerPublicKey', 'certIssuerPublicKey', bytes),
    ]),
  ),
  field(
    'CSIInfo',
    'csiInfo',
    list(
      table(NodeCSIInfoSchema, [
        field('PluginName', 'pluginName', text),
        field('NodeID', 'nodeId', text),
        field('MaxVolumesPerNode', 'maxVolumesPerNode', int64),
        optional(
          'AccessibleTopology',
          'accessibleTopology',
          table(TopologySchema, [field('Segments', 'segments', map)]),
        ),
      ]),
    ),
  ),
]);

const status = table(NodeStatusSchema, [
  field(
    'State',
    'state',
    words(
      {
        unknown: NodeState.UNKNOWN,
        down: NodeState.DOWN,
        ready: NodeState.READY,
        disconnected: NodeState.DISCONNECTED,
      },
      (word) => `invalid State: "${word}"`,
    ),
  ),
  field('Message', 'message', text),
  field('Addr', 'addr', text),
]);

const managerStatus = table(ManagerStatusSchema, [
  field('Leader', 'leader', flag),
  field(
    'Reachability',
    'reachability',
    words(
      {
        unknown: Reachability.UNKNOWN,
        unreachable: Reachability.UNREACHABLE,
        reachable: Reachability.REACHABLE,
      },
      (word) => `invalid Reachability: "${word}"`,
    ),
  ),
  field('Addr', 'addr', text),
]);

export const node = table(NodeSchema, [
  always('ID', 'id', text),
  meta,
  struct('Spec', 'spec', NodeSpecSchema, nodeSpecTable),
  struct('Description', 'description', NodeDescriptionSchema, description),
  struct('Status', 'status', NodeStatusSchema, status),
  optional('ManagerStatus', 'managerStatus', managerStatus),
]);
