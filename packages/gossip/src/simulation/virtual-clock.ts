import type { Clock, Timer } from '../runtime/index.ts';

interface Event {
  readonly at: number;
  /** Breaks ties, so that runs are the same every time. */
  readonly order: number;
  callback: (() => void) | undefined;
}

/** Time that passes only when told to. One serves a whole simulated cluster. */
export class VirtualClock implements Clock {
  #now = 0;
  #order = 0;
  /** When promises last had their turn. */
  #settled = 0;
  /** Binary heap by (at, order). */
  readonly #heap: Event[] = [];

  now(): number {
    return this.#now;
  }

  /** Delays are rounded up to whole ms, so that many events share an instant. */
  setTimeout(callback: () => void, delay: number): Timer {
    const event: Event = { at: this.#now + Math.max(0, Math.ceil(delay)), order: this.#order++, callback };
    this.#push(event);
    return event;
  }

  clearTimeout(timer: Timer): void {
    (timer as Event).callback = undefined;
  }

  /** Runs everything that is due within `duration` ms, then the promises that this has settled. */
  async advance(duration: number): Promise<void> {
    const end = this.#now + duration;
    for (let next = this.#heap[0]; next && next.at <= end; next = this.#heap[0]) {
      if (next.at >= this.#settled + SETTLE_INTERVAL) {
        await settlePromises();
        this.#settled = next.at;
      }
      const due = this.#heap[0] as Event;
      if (due.at > end) break;
      this.#now = due.at;
      this.#pop();
      due.callback?.();
    }
    this.#now = end;
    await settlePromises();
  }

  /** Advances in steps until the condition holds; false after `limit` ms. */
  async until(condition: () => boolean, limit: number, step = 1_000): Promise<boolean> {
    for (const end = this.#now + limit; this.#now < end; ) {
      if (condition()) return true;
      await this.advance(step);
    }
    return condition();
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(event);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent] as Event;
      if (!isBefore(event, above)) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as Event;
    const { length } = heap;
    if (length === 0) return;
    let index = 0;
    for (let child = 1; child < length; child = index * 2 + 1) {
      const right = heap[child + 1];
      if (right && isBefore(right, heap[child] as Event)) child++;
      const below = heap[child] as Event;
      if (!isBefore(below, last)) break;
      heap[index] = below;
      index = child;
    }
    heap[index] = last;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

/** Promises have their turn every so many ms of virtual time: each turn costs real time, and exchanges take longer anyway. */
const SETTLE_INTERVAL = 10;
/** Enough turns of the microtask queue for the longest chain of awaits in the protocols. */
const MICROTASK_TURNS = 16;

async function settlePromises(): Promise<void> {
  for (let turn = 0; turn < MICROTASK_TURNS; turn++) await undefined;
}
