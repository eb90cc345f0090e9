/** One network namespace's part of the maps. */
import type { BpfMap } from '@skein/netlink';
import type { ServiceKey } from '../service-table.ts';
import { addressValue, serviceKey, serviceValue, taskKey } from './records.ts';

/** The maps that this is about. */
export interface SpaceMaps {
  readonly services: BpfMap;
  readonly tasks: BpfMap;
}

export class Space {
  /** Of the network namespace. */
  readonly cookie: bigint;
  readonly #maps: SpaceMaps;
  /** Virtual IP → what is written; `tasks` is undefined while that is not certain. BOUNDED by the maps. */
  readonly #written = new Map<ServiceKey, { tasks: readonly string[] | undefined; count: number }>();

  constructor(cookie: bigint, maps: SpaceMaps) {
    this.cookie = cookie;
    this.#maps = maps;
  }

  /**
   * Makes the maps say these services; whoever has no task is left out, for nft to refuse. At no moment do the maps lead
   * to a task that neither the old list nor the new one has.
   * @throws SystemError E2BIG when a map is full.
   */
  reconcile(services: ReadonlyMap<ServiceKey, readonly string[]>, place: number): void {
    for (const virtualIp of [...this.#written.keys()]) {
      if ((services.get(virtualIp)?.length ?? 0) === 0) this.#remove(virtualIp);
    }
    const changed = [...services].filter(
      ([virtualIp, tasks]) => tasks.length > 0 && !isSame(this.#written.get(virtualIp)?.tasks, tasks),
    );
    for (const [virtualIp, { length }] of changed) {
      const count = Math.max(length, this.#written.get(virtualIp)?.count ?? 0);
      this.#written.set(virtualIp, { tasks: undefined, count });
    }
    const { cookie } = this;
    this.#maps.tasks.setAll(
      changed.flatMap(([virtualIp, tasks]) =>
        tasks.map((address, index) => [taskKey(cookie, virtualIp, index), addressValue(address)] as const),
      ),
    );
    this.#maps.services.setAll(
      changed.map(([virtualIp, { length }]) => [serviceKey(cookie, virtualIp), serviceValue(length, place % length)]),
    );
    for (const [virtualIp, tasks] of changed) {
      this.#removeTasks(virtualIp, tasks.length);
      this.#written.set(virtualIp, { tasks, count: tasks.length });
    }
  }

  /** Leaves nothing. */
  clear(): void {
    for (const virtualIp of [...this.#written.keys()]) this.#remove(virtualIp);
  }

  #remove(virtualIp: ServiceKey): void {
    this.#maps.services.delete(serviceKey(this.cookie, virtualIp));
    this.#removeTasks(virtualIp, 0);
    this.#written.delete(virtualIp);
  }

  /** Those from `first` on. */
  #removeTasks(virtualIp: ServiceKey, first: number): void {
    const count = this.#written.get(virtualIp)?.count ?? 0;
    for (let index = first; index < count; index++) this.#maps.tasks.delete(taskKey(this.cookie, virtualIp, index));
  }
}

function isSame(left: readonly string[] | undefined, right: readonly string[]): boolean {
  return left?.length === right.length && left.every((address, index) => address === right[index]);
}
