/** The containers of this host by ID and by name. */
import { SkeinError } from '../common/index.ts';
import type { Container } from './container.ts';

/** Name of a container (moby daemon/names: RestrictedNameChars). */
export const nameForm = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

export class Register {
  /** BOUNDED by what users and the swarm create. */
  readonly #containers = new Map<string, Container>();
  /** Name → ID, also of containers that are being created. BOUNDED as above. */
  readonly #names = new Map<string, string>();

  all(): Container[] {
    return [...this.#containers.values()];
  }

  add(container: Container): void {
    this.#containers.set(container.id, container);
    this.#names.set(container.record.name, container.id);
  }

  delete({ id, record }: Container): void {
    this.#containers.delete(id);
    this.#names.delete(record.name);
  }

  has(id: string): boolean {
    return this.#containers.has(id);
  }

  /** @throws SkeinError NotFound. */
  get(id: string): Container {
    const container = this.#containers.get(id);
    if (!container) throw new SkeinError('NotFound', `No such container: ${id}`);
    return container;
  }

  /** @param reference a name, an ID or the beginning of one. @returns the ID. @throws SkeinError NotFound, InvalidArgument. */
  find(reference: string): string {
    const text = reference.replace(/^\//, '');
    const named = this.#containers.has(text) ? text : this.#names.get(text);
    if (named !== undefined && this.#containers.has(named)) return named;
    const matches = [...this.#containers.keys()].filter((id) => text !== '' && id.startsWith(text));
    if (matches.length > 1) {
      throw new SkeinError('InvalidArgument', `multiple IDs found with provided prefix: ${reference}`);
    }
    const [match] = matches;
    if (match === undefined) throw new SkeinError('NotFound', `No such container: ${reference}`);
    return match;
  }

  /** Holds a name for a container. @throws SkeinError InvalidArgument, Conflict. */
  claimName(name: string, id: string): void {
    if (!nameForm.test(name)) {
      throw new SkeinError(
        'InvalidArgument',
        `Invalid container name (${name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`,
      );
    }
    const owner = this.#names.get(name);
    if (owner !== undefined) {
      throw new SkeinError(
        'Conflict',
        `Conflict. The container name "/${name}" is already in use by container "${owner}". You have to remove (or rename) that container to be able to reuse that name.`,
      );
    }
    this.#names.set(name, id);
  }

  freeName(name: string): void {
    this.#names.delete(name);
  }
}
