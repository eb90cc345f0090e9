import { randomInt } from 'node:crypto';
import { hasCode, NetlinkError } from '../errors.ts';
import { NLM_F_CREATE, NLM_F_EXCL } from '../wire/message.ts';
import { NetlinkConnection } from './connection.ts';
import {
  decodeLink,
  encodeGroupSelector,
  encodeLinkChanges,
  encodeLinkGroup,
  encodeLinkSelector,
  encodeLinkSpec,
  RTM_DELLINK,
  RTM_GETLINK,
  RTM_NEWLINK,
} from './link-codec.ts';
import type { Link, LinkChanges, LinkSpec, VethSpec } from './link-spec.ts';

const EIO = 5;
/** Numbers of groups that nobody chooses for links of their own. */
const FIRST_CHANCE_GROUP = 2 ** 16;
const LAST_CHANCE_GROUP = 2 ** 32 - 1;

/** The network devices of one namespace. */
export class Links {
  readonly #connection: NetlinkConnection;

  constructor(connection: NetlinkConnection) {
    this.#connection = connection;
  }

  /** All links. Equivalent to `ip -details link show`. */
  list(): Link[] {
    const request = { type: RTM_GETLINK, payload: encodeLinkSelector(0), operation: 'RTM_GETLINK' };
    return this.#connection.dump(request).map(({ payload }) => decodeLink(payload));
  }

  /** One link, or undefined when the namespace has none of that name or index. */
  get(link: number | string): Link | undefined {
    const operation = `RTM_GETLINK ${link}`;
    try {
      const [answer] = this.#connection.request({ type: RTM_GETLINK, payload: encodeLinkSelector(link), operation });
      return answer && decodeLink(answer.payload);
    } catch (error) {
      // ERANGE: no link can have a name that long.
      if (hasCode(error, 'ENODEV', 'ERANGE')) return undefined;
      throw error;
    }
  }

  /**
   * Creates a link and returns it as its own namespace sees it. Equivalent to `ip link add`.
   *
   * With `spec.namespace` the link is born there. A VXLAN device's UDP socket is then still in the namespace of this
   * connection: that is how an overlay's segment lives in a sandbox while its packets travel the host's network.
   * When a part fails that the kernel does not do in the same step (alias, bridge port settings, the peer's `up`), the
   * link is removed again.
   * @throws NetlinkError EEXIST when the name, or a VXLAN's VNI on its port, is taken.
   */
  create(spec: LinkSpec): Link {
    const operation = `RTM_NEWLINK ${spec.kind} ${spec.name}`;
    // The kernel ignores an alias in the creating message; `up` waits for it, so that no untagged link is ever up.
    const payload = encodeLinkSpec({ ...spec, up: undefined });
    this.#connection.request({ type: RTM_NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL, payload, operation });
    if (!spec.namespace) return this.#finish(spec, operation);
    using there = NetlinkConnection.open(spec.namespace);
    return new Links(there).#finish(spec, operation);
  }

  #finish(spec: LinkSpec, operation: string): Link {
    const created = this.get(spec.name);
    if (!created) throw new NetlinkError(operation, EIO, 'the new link is already gone');
    const { alias, bridgePort, up } = spec;
    try {
      if (alias !== undefined || bridgePort !== undefined || up) this.set(created.index, { alias, bridgePort, up });
      if (spec.kind === 'veth' && spec.peer.up) this.#setPeerUp(spec.peer);
    } catch (error) {
      this.delete(created.index);
      throw error;
    }
    return this.get(created.index) ?? created;
  }

  /** A veth cannot be up before it has its other end, so the kernel refuses to create the peer up. */
  #setPeerUp({ name, namespace }: VethSpec['peer']): void {
    if (namespace) {
      using there = NetlinkConnection.open(namespace);
      new Links(there).#setPeerUp({ name });
    } else {
      this.set(this.get(name)?.index ?? 0, { up: true });
    }
  }

  /** Changes a link. Equivalent to `ip link set` (and `bridge link set` for `bridgePort`). */
  set(index: number, changes: LinkChanges): void {
    const payload = encodeLinkChanges(index, changes);
    this.#connection.request({ type: RTM_NEWLINK, payload, operation: `RTM_NEWLINK set ${index}` });
  }

  /** Deletes a link (and the other end of a veth). A link that is gone is no error. Equivalent to `ip link delete`. */
  delete(index: number): void {
    const request = { type: RTM_DELLINK, payload: encodeLinkSelector(index), operation: `RTM_DELLINK ${index}` };
    ignoring(['ENODEV'], () => this.#connection.request(request));
  }

  /**
   * Deletes links in one step: the kernel waits for all processors once, not for each link, which takes it some 20 ms.
   * Links that are gone are no error. Equivalent to `ip link set dev … group G`, then `ip link delete group G`.
   */
  deleteAll(indices: readonly number[]): void {
    const group = randomInt(FIRST_CHANCE_GROUP, LAST_CHANCE_GROUP);
    for (const index of indices) {
      const operation = `RTM_NEWLINK group of ${index}`;
      const request = { type: RTM_NEWLINK, payload: encodeLinkGroup(index, group), operation };
      ignoring(['ENODEV'], () => this.#connection.request(request));
    }
    const request = { type: RTM_DELLINK, payload: encodeGroupSelector(group), operation: `RTM_DELLINK group ${group}` };
    ignoring(['ENODEV'], () => this.#connection.request(request));
  }
}

/** Runs `action`; errors with these codes mean that the wanted state is already there. */
export function ignoring(codes: string[], action: () => unknown): void {
  try {
    action();
  } catch (error) {
    if (!hasCode(error, ...codes)) throw error;
  }
}
