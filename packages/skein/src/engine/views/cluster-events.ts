/** Changes of the cluster's objects as `docker events` shows them (moby daemon/events.go: generateClusterEvent). */
import type { EngineEvent } from '../../common/index.ts';
import type { Network, Node, Service } from '../../swarm/gen/objects_pb.js';
import { NodeSpec_Availability as Availability } from '../../swarm/gen/specs_pb.js';
import {
  NodeRole,
  NodeStatus_State as NodeState,
  ManagerStatus_Reachability as Reachability,
  UpdateStatus_UpdateState as UpdateState,
} from '../../swarm/gen/types_pb.js';
import type { Control } from '../../swarm/manager/types.ts';
import type { Engine } from '../types.ts';

type Attributes = Record<string, string>;

/** One change of the store that the manager offers for watching. */
export type StoreEvent = Parameters<Parameters<Control['store']['watch']>[0]>[0][number];

/** The same of one table. */
interface Change<O> {
  readonly action: StoreEvent['action'];
  readonly object: O;
  readonly previous: O | undefined;
}

/** How often the engine looks whether this node has become, or ceased to be, a manager. */
const followIntervalMs = 500;

/** Publishes the store's changes on the event bus for as long as this node is a manager. @returns the function that ends it. */
export function publishClusterEvents(engine: Engine): () => void {
  let followed: Control['store'] | undefined;
  let stop: () => void = () => {};
  const follow = (): void => {
    const store = engine.swarm.status().controlAvailable ? engine.swarm.control().store : undefined;
    if (store === followed) return;
    stop();
    followed = store;
    stop =
      store?.watch((events) => {
        for (const event of events) {
          const message = clusterEvent(event);
          if (message !== undefined) engine.events.publish(message);
        }
      }) ?? (() => {});
  };
  const tryToFollow = (): void => {
    try {
      follow();
    } catch (error) {
      // The manager went between the two questions: the next round sees it.
      engine.logger.debug({ error }, 'cluster events are not available');
    }
  };
  tryToFollow();
  const timer = setInterval(tryToFollow, followIntervalMs);
  timer.unref();
  return () => {
    clearInterval(timer);
    stop();
  };
}

const actions = { create: 'create', update: 'update', delete: 'remove' } as const;

/** @returns the event for a change, undefined for objects that Docker does not tell about (tasks, the cluster). */
export function clusterEvent(event: StoreEvent): Omit<EngineEvent, 'timeNano'> | undefined {
  const attributes = attributesOf(event);
  if (attributes === undefined) return undefined;
  return {
    type: event.table,
    action: actions[event.action],
    actor: { id: event.object.id, attributes },
    scope: 'swarm',
  };
}

function attributesOf(event: StoreEvent): Attributes | undefined {
  switch (event.table) {
    case 'node':
      return nodeAttributes(event as unknown as Change<Node>);
    case 'service':
      return serviceAttributes(event as unknown as Change<Service>);
    case 'network':
    case 'secret':
    case 'config':
      return { name: (event as unknown as Change<Network>).object.spec?.annotations?.name ?? '' };
    default:
      return undefined;
  }
}

function nodeAttributes({ action, object, previous }: Change<Node>): Attributes {
  const attributes: Attributes = { name: object.spec?.annotations?.name || (object.description?.hostname ?? '') };
  if (action === 'update' && previous !== undefined) {
    change(attributes, 'availability', previous, object, (node: Node) =>
      Availability[node.spec?.availability ?? Availability.ACTIVE].toLowerCase(),
    );
    change(attributes, 'role', previous, object, (node: Node) => NodeRole[node.role].toLowerCase());
    change(attributes, 'state', previous, object, (node: Node) =>
      NodeState[node.status?.state ?? NodeState.UNKNOWN].toLowerCase(),
    );
    if (object.managerStatus !== undefined && previous.managerStatus !== undefined) {
      change(attributes, 'leader', previous, object, (node: Node) => String(node.managerStatus?.leader ?? false));
      change(attributes, 'reachability', previous, object, (node: Node) =>
        Reachability[node.managerStatus?.reachability ?? Reachability.UNKNOWN].toLowerCase(),
      );
    }
  }
  return attributes;
}

function serviceAttributes({ action, object, previous }: Change<Service>): Attributes {
  const attributes: Attributes = { name: object.spec?.annotations?.name ?? '' };
  if (action === 'update' && previous !== undefined) {
    change(attributes, 'image', previous, object, imageOf);
    change(attributes, 'replicas', previous, object, replicasOf);
    change(attributes, 'updatestate', previous, object, updateStateOf);
  }
  return attributes;
}

const imageOf = ({ spec }: Service): string | undefined =>
  spec?.task?.runtime.case === 'container' ? spec.task.runtime.value.image : undefined;
const replicasOf = ({ spec }: Service): string | undefined =>
  spec?.mode.case === 'replicated' ? spec.mode.value.replicas.toString() : undefined;
const updateStateOf = ({ updateStatus }: Service): string | undefined =>
  updateStatus && UpdateState[updateStatus.state].toLowerCase();

/** Adds `name.old` and `name.new` when the value has changed. */
function change<T>(
  attributes: Attributes,
  name: string,
  previous: T,
  object: T,
  read: (object: T) => string | undefined,
): void {
  const before = read(previous);
  const after = read(object);
  if (before === after || after === undefined) return;
  if (before !== undefined) attributes[`${name}.old`] = before;
  attributes[`${name}.new`] = after;
}
