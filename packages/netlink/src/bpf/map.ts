/** Maps: what programs and their owner share, keys and values of fixed sizes. */
import { closeSync } from 'node:fs';
import { hasCode } from '../errors.ts';
import { attempt, call, commands, decodeName, encodeName, mapInfo } from './bpf.ts';

/** enum bpf_map_type, linux/bpf.h: those that may be asked for. Of per-CPU ones the kernel writes a value for each CPU. */
export const mapTypes = { hash: 1, array: 2 } as const;
export type BpfMapType = keyof typeof mapTypes;

/** BPF_F_NO_PREALLOC: memory is taken as entries come. */
export const BPF_F_NO_PREALLOC = 1;
/** How many entries one call of a dump asks for. */
const DUMP_BATCH = 256;
/** A dump's position: a hash's is a u32, an array's its key. */
const CURSOR_SIZE = 8;

export interface BpfMapSpec {
  readonly name: string;
  readonly type: BpfMapType;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maximumEntries: number;
  /** Bits of BPF_F_*. */
  readonly flags?: number;
}

export type BpfEntry = readonly [key: Uint8Array, value: Uint8Array];

export class BpfMap implements Disposable {
  readonly spec: BpfMapSpec;
  readonly fd: number;
  #open = true;

  private constructor(spec: BpfMapSpec, fd: number) {
    this.spec = spec;
    this.fd = fd;
  }

  /** Makes a map. It lives as long as this object or a program that uses it. @throws SystemError */
  static create(spec: BpfMapSpec): BpfMap {
    const { name, type, keySize, valueSize, maximumEntries, flags = 0 } = spec;
    const { nameLow, nameHigh } = encodeName(name);
    const [name0 = 0, name1 = 0, name2 = 0, name3 = 0] = new Uint32Array(
      new BigUint64Array([nameLow, nameHigh]).buffer,
    );
    const { result } = call(
      commands.mapCreate,
      { type: mapTypes[type], keySize, valueSize, maximumEntries, flags, name0, name1, name2, name3 },
      name,
    );
    return new BpfMap(spec, result);
  }

  /** Opens a map by the kernel's number. @returns undefined when it has gone, or is of a type that is not known here. */
  static byId(id: number): BpfMap | undefined {
    try {
      const fd = call(commands.mapById, { id }, String(id)).result;
      try {
        const spec = specOf(fd);
        if (spec !== undefined) return new BpfMap(spec, fd);
      } catch (error) {
        closeSync(fd);
        throw error;
      }
      closeSync(fd);
      return undefined;
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  /** @returns the value, or undefined if there is no such key. */
  get(key: Uint8Array): Uint8Array | undefined {
    const value = new Uint8Array(new ArrayBuffer(this.spec.valueSize));
    const stableKey = this.#key(key);
    try {
      call(commands.mapLookup, { mapFd: this.fd, key: stableKey, value: value }, this.spec.name);
      return value;
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  /** Writes the entry, over whatever has the key. @throws SystemError E2BIG when the map is full. */
  set(key: Uint8Array, value: Uint8Array): void {
    const stableKey = this.#key(key);
    const stableValue = this.#value(value);
    const { fd: mapFd, spec } = this;
    call(commands.mapUpdate, { mapFd, key: stableKey, value: stableValue }, spec.name);
  }

  /** Writes the entries in one call; those before a failing one are written. @throws SystemError */
  setAll(entries: readonly BpfEntry[]): void {
    if (entries.length === 0) return;
    const keys = concatenate(entries.map(([key]) => this.#key(key)));
    const values = concatenate(entries.map(([, value]) => this.#value(value)));
    const { fd: mapFd, spec } = this;
    const count = entries.length;
    call(commands.mapUpdateBatch, { mapFd, count, keys: keys, values: values }, spec.name);
  }

  /** Takes the entry away. @returns whether it was there. */
  delete(key: Uint8Array): boolean {
    const stableKey = this.#key(key);
    try {
      call(commands.mapDelete, { mapFd: this.fd, key: stableKey }, this.spec.name);
      return true;
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return false;
      throw error;
    }
  }

  /** @returns all entries. What changes meanwhile may be in it or not, or twice. */
  entries(): BpfEntry[] {
    const { keySize, valueSize, name } = this.spec;
    const found: BpfEntry[] = [];
    const cursor = new Uint8Array(new ArrayBuffer(Math.max(CURSOR_SIZE, keySize)));
    let inBatch: Uint8Array | undefined;
    let size = DUMP_BATCH;
    for (;;) {
      const keys = new Uint8Array(new ArrayBuffer(size * keySize));
      const values = new Uint8Array(new ArrayBuffer(size * valueSize));
      const { error, answer } = attempt(
        commands.mapLookupBatch,
        {
          mapFd: this.fd,
          ...(inBatch && { inBatch }),
          outBatch: cursor,
          keys: keys,
          values: values,
          count: size,
        },
        name,
      );
      // ENOSPC: one bucket of the hash has more entries than were asked for.
      if (hasCode(error, 'ENOSPC')) {
        size *= 2;
        continue;
      }
      const isLast = hasCode(error, 'ENOENT');
      if (error !== undefined && !isLast) throw error;
      for (let entry = 0; entry < answer.count; entry++) {
        const key = keys.slice(entry * keySize, (entry + 1) * keySize);
        found.push([key, values.slice(entry * valueSize, (entry + 1) * valueSize)]);
      }
      if (isLast) return found;
      inBatch = cursor;
    }
  }

  /** Closes the descriptor; programs that use the map keep it. Safe to repeat. */
  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.fd);
  }

  #key(key: Uint8Array): Uint8Array {
    if (key.length !== this.spec.keySize) {
      throw new RangeError(`map ${this.spec.name}: a key has ${this.spec.keySize} bytes, not ${key.length}`);
    }
    return stable(key);
  }

  #value(value: Uint8Array): Uint8Array {
    if (value.length !== this.spec.valueSize) {
      throw new RangeError(`map ${this.spec.name}: a value has ${this.spec.valueSize} bytes, not ${value.length}`);
    }
    return stable(value);
  }
}

function specOf(fd: number): BpfMapSpec | undefined {
  const info = new Uint8Array(new ArrayBuffer(mapInfo.size));
  call(commands.objectInfo, { fd, infoSize: info.length, info });
  const known = mapInfo.decode(info);
  const { keySize, valueSize, maximumEntries, flags } = known;
  const type = Object.entries(mapTypes).find(([, number]) => number === known.type)?.[0] as BpfMapType | undefined;
  return type && { name: decodeName(known), type, keySize, valueSize, maximumEntries, flags };
}

/** BPF wants memory that does not move: a copy on its own buffer. */
function stable(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new ArrayBuffer(bytes.length));
  copy.set(bytes);
  return copy;
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(new ArrayBuffer(parts.reduce((sum, part) => sum + part.length, 0)));
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}
