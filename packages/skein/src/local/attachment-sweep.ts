/** Gives attachments back that a killed daemon has asked for and could not record. */
import type { PlainRecord } from './record.ts';

const sweepMs = 15_000;

interface SweepParts {
  /** IDs of the attachments that this node has. */
  readonly held: () => readonly string[];
  readonly records: () => readonly PlainRecord[];
  readonly giveBack: (attachmentId: string) => void;
}

export class AttachmentSweep implements Disposable {
  readonly #parts: SweepParts;
  readonly #timer: NodeJS.Timeout;
  /** Attachments of nobody that the last look saw. */
  #unclaimed: ReadonlySet<string> = new Set();

  constructor(parts: SweepParts) {
    this.#parts = parts;
    this.#timer = setInterval(() => this.#look(), sweepMs);
    this.#timer.unref();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  /** What no record knows at two looks is given back. */
  #look(): void {
    const { held, records, giveBack } = this.#parts;
    const places = records().flatMap(({ networks }) => networks.map(({ live }) => live));
    const claimed = new Set(places.map((live) => (live?.kind === 'overlay' ? live.attachmentId : '')));
    const unclaimed = held().filter((id) => !claimed.has(id));
    for (const id of unclaimed.filter((each) => this.#unclaimed.has(each))) giveBack(id);
    this.#unclaimed = new Set(unclaimed);
  }
}
