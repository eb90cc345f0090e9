/** Named counters. BOUNDED: names beyond `limit` are counted together as `other`. */
export class Counters {
  readonly #counts = new Map<string, number>();
  readonly #limit: number;

  constructor(limit = 1024) {
    this.#limit = limit;
  }

  add(name: string, amount = 1): void {
    const known = this.#counts.has(name) || this.#counts.size < this.#limit;
    const key = known ? name : 'other';
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + amount);
  }

  get(name: string): number {
    return this.#counts.get(name) ?? 0;
  }

  snapshot(): Record<string, number> {
    return Object.fromEntries(this.#counts);
  }
}
