/** The images of this host: found, listed, inspected, tagged and removed by Docker's rules. */
import type { Readable } from 'node:stream';
import { type EventBus, SkeinError } from '../../common/index.ts';
import { type Containerd, unlessNotFound } from '../containerd/client.ts';
import type { Image } from '../gen/images_pb.js';
import {
  defaultTag,
  familiarName,
  familiarReference,
  fullReference,
  parseReference,
  type Reference,
  repositoryName,
  withDefaultTag,
} from '../references.ts';
import { resolveReference } from '../registry/resolve.ts';
import { nowText } from '../time.ts';
import type { Filters, ImageInspect, ImageSummary, Images, PullProgress, RegistryAuth } from '../types.ts';
import { readDocument } from './content.ts';
import { historyOf, inspectOf, summaryOf, usageOf } from './documents.ts';
import { matchesFilters, withAskedNames } from './filters.ts';
import { importImage } from './import.ts';
import { loadImages } from './load.ts';
import { chainIds, type ImageConfig, parseImageConfig } from './manifest.ts';
import { pullImage } from './pull.ts';
import { lastTagLabel, putRecord, recordImageId } from './record.ts';
import { chainSizes } from './sizes.ts';
import type { StoredImage } from './stored-image.ts';

/** Who uses an image: container IDs, and whether they run. */
export type ImageUsers = (imageId: string) => { id: string; running: boolean }[];

const idPrefix = /^(?:sha256:)?([0-9a-f]{4,64})$/;

export class ImageStore implements Images {
  readonly #containerd: Containerd;
  readonly #events: EventBus;
  readonly #usersOf: ImageUsers;

  constructor(containerd: Containerd, events: EventBus, usersOf: ImageUsers) {
    this.#containerd = containerd;
    this.#events = events;
    this.#usersOf = usersOf;
  }

  #publish(action: string, id: string, name: string): void {
    this.#events.publish({ type: 'image', action, actor: { id, attributes: { name } }, scope: 'local' });
  }

  async #records(): Promise<Image[]> {
    const { images } = await this.#containerd.images.list({});
    return images.filter((image) => recordImageId(image) !== '');
  }

  /** @returns the image ID for a tag, digest, ID or prefix of one. @throws SkeinError NotFound `No such image: X:latest`. */
  async find(text: string): Promise<string> {
    const records = await this.#records();
    const prefix = idPrefix.exec(text)?.[1];
    const reference = tryParse(text);
    if (reference) {
      const full = fullReference(withDefaultTag(reference));
      const byDigest = reference.digest && `${repositoryName(reference)}@${reference.digest}`;
      const named = records.find(({ name }) => name === full || name === byDigest);
      if (named) return recordImageId(named);
    }
    const matches = new Set(
      records.map(recordImageId).filter((id) => prefix !== undefined && id.startsWith(`sha256:${prefix}`)),
    );
    const [match] = matches;
    if (match !== undefined && matches.size === 1) return match;
    const shown = reference ? familiarReference(withDefaultTag(reference)) : text;
    throw new SkeinError('NotFound', `No such image: ${shown}`);
  }

  /** @returns config and top layer of an image, for a container. */
  async get(id: string): Promise<{ config: ImageConfig; topLayer: string }> {
    const config = parseImageConfig(await readDocument(this.#containerd, id));
    return { config, topLayer: chainIds(config.rootfs.diff_ids).at(-1) ?? '' };
  }

  async #load(id: string, records: readonly Image[]): Promise<StoredImage> {
    const own = records.filter((record) => recordImageId(record) === id);
    const config = parseImageConfig(await readDocument(this.#containerd, id));
    const chain = chainIds(config.rootfs.diff_ids);
    const names = own.filter(({ name }) => name !== id).map(({ name }) => parseReference(name));
    const [first] = own;
    if (!first?.target) throw new SkeinError('NotFound', `No such image: ${id}`);
    return {
      id,
      config,
      tags: names
        .filter((name) => name.digest === undefined)
        .map(familiarReference)
        .sort(),
      digests: names
        .filter((name) => name.digest !== undefined)
        .map(familiarReference)
        .sort(),
      chain,
      layerSizes: await chainSizes(this.#containerd, chain),
      lastTagTime: own.find(({ name }) => name === id)?.labels[lastTagLabel] ?? '',
      target: first.target,
    };
  }

  async list(filters: Filters): Promise<ImageSummary[]> {
    const images = await this.#all();
    const chosen: StoredImage[] = [];
    for (const image of images)
      if (await matchesFilters(image, filters, (text) => this.#created(text))) chosen.push(image);
    chosen.sort((a, b) => (b.config.created ?? '').localeCompare(a.config.created ?? ''));
    return chosen.map((image) => summaryOf(withAskedNames(image, filters)));
  }

  async usage(): Promise<{ images: ImageSummary[]; layersSize: number }> {
    return usageOf(await this.#all());
  }

  async #all(): Promise<StoredImage[]> {
    const records = await this.#records();
    return Promise.all([...new Set(records.map(recordImageId))].map((id) => this.#load(id, records)));
  }

  async #created(reference: string): Promise<string> {
    return (await this.get(await this.find(reference))).config.created ?? '';
  }

  async inspect(reference: string): Promise<ImageInspect> {
    const id = await this.find(reference);
    return inspectOf(await this.#load(id, await this.#records()));
  }

  async history(reference: string): Promise<Record<string, unknown>[]> {
    const id = await this.find(reference);
    return historyOf(await this.#load(id, await this.#records()));
  }

  async tag(source: string, target: string): Promise<void> {
    const id = await this.find(source);
    const reference = parseReference(target);
    if (reference.digest !== undefined) {
      throw new SkeinError('InvalidArgument', 'refusing to create a tag with a digest reference');
    }
    await this.#setTag(id, withDefaultTag(reference));
    this.#publish('tag', id, familiarReference(withDefaultTag(reference)));
  }

  async #setTag(id: string, reference: Reference): Promise<void> {
    const record = (await this.#records()).find(({ name }) => name === id);
    if (!record?.target) throw new SkeinError('NotFound', `No such image: ${id}`);
    const { mediaType, digest, size } = record.target;
    const target = { mediaType, digest, size: Number(size) };
    await putRecord(this.#containerd, fullReference(reference), id, target);
    await putRecord(this.#containerd, id, id, target, { [lastTagLabel]: nowText() });
  }

  async *load(archive: Readable, signal?: AbortSignal): AsyncGenerator<{ stream: string }> {
    yield* loadImages(this.#containerd, archive, (id, name) => this.#publish('load', id, name), signal);
  }

  async import(
    archive: Readable,
    options: { reference?: string; changes: string[]; message: string },
  ): Promise<string> {
    const reference = options.reference ? withDefaultTag(parseReference(options.reference)) : undefined;
    if (reference && 'digest' in reference) {
      throw new SkeinError('InvalidArgument', 'cannot import digest reference');
    }
    const { id } = await importImage(this.#containerd, archive, options);
    if (reference) await this.#setTag(id, reference);
    this.#publish('import', id, reference ? familiarReference(reference) : id);
    return id;
  }

  async *pull(text: string, options: { auth?: RegistryAuth; signal?: AbortSignal }): AsyncGenerator<PullProgress> {
    const reference = withDefaultTag(parseReference(text));
    yield* pullImage(this.#containerd, reference, options);
    this.#publish('pull', familiarReference(reference), familiarName(reference));
  }

  async resolve(
    reference: string,
    auth?: RegistryAuth,
  ): Promise<{ descriptor: Record<string, unknown>; platforms: { architecture: string; os: string }[] }> {
    return await resolveReference(withDefaultTag(parseReference(reference)), auth);
  }

  async remove(
    text: string,
    options: { force: boolean; noPrune: boolean },
  ): Promise<({ Untagged: string } | { Deleted: string })[]> {
    const id = await this.find(text);
    const records = (await this.#records()).filter((record) => recordImageId(record) === id);
    const names = records.map(({ name }) => name).filter((name) => name !== id);
    const reference = idPrefix.test(text) && !names.includes(fullOf(text)) ? undefined : tryParse(text);
    const chosen = reference ? this.#chosenNames(reference, names) : names;
    const remaining = names.filter((name) => !chosen.includes(name));
    const keepsTag = remaining.some((name) => !name.includes('@'));
    if (!reference) this.#checkRemovalById(id, names, options.force);
    if (!keepsTag) this.#checkUse(id, text, options.force && !this.#usersOf(id).some((user) => user.running));
    const result: ({ Untagged: string } | { Deleted: string })[] = [];
    const gone = keepsTag ? chosen : names;
    for (const name of gone) {
      await unlessNotFound(this.#containerd.images.delete({ name }));
      result.push({ Untagged: familiarReference(parseReference(name)) });
      this.#publish('untag', id, id);
    }
    if (!keepsTag && this.#usersOf(id).length === 0) result.push(...(await this.#delete(id)));
    return result;
  }

  #chosenNames(reference: Reference, names: readonly string[]): string[] {
    const full = fullReference(withDefaultTag(reference));
    const repository = repositoryName(reference);
    const chosen = names.filter(
      (name) => name === full || (reference.digest && name === `${repository}@${reference.digest}`),
    );
    const othersOfRepository = names.filter((name) => name.startsWith(`${repository}:`) && !chosen.includes(name));
    // The last tag of a repository takes the repository's digests along.
    const digests = othersOfRepository.length === 0 ? names.filter((name) => name.startsWith(`${repository}@`)) : [];
    return [...new Set([...chosen, ...digests])];
  }

  #checkRemovalById(id: string, names: readonly string[], force: boolean): void {
    const repositories = new Set(names.map((name) => repositoryName(parseReference(name))));
    if (repositories.size > 1 && !force) {
      const short = shortId(id);
      throw new SkeinError(
        'Conflict',
        `conflict: unable to delete ${short} (must be forced) - image is referenced in multiple repositories`,
      );
    }
  }

  /** @param allowed a stopped container may keep the layers of an image whose names go. */
  #checkUse(id: string, text: string, allowed: boolean): void {
    const users = this.#usersOf(id);
    const running = users.find((user) => user.running);
    const [user] = running ? [running] : users;
    if (!user || allowed) return;
    const shown = idPrefix.test(text) ? shortId(id) : text;
    const container = user.id.slice(0, 12);
    if (idPrefix.test(text) || shown === shortId(id)) {
      const [how, what] = running ? ['cannot be forced', 'running'] : ['must be forced', 'stopped'];
      throw new SkeinError(
        'Conflict',
        `conflict: unable to delete ${shown} (${how}) - image is being used by ${what} container ${container}`,
      );
    }
    throw new SkeinError(
      'Conflict',
      `conflict: unable to remove repository reference "${shown}" (must force) - container ${container} is using its referenced image ${shortId(id)}`,
    );
  }

  async #delete(id: string): Promise<{ Deleted: string }[]> {
    const config = parseImageConfig(await readDocument(this.#containerd, id));
    const chain = chainIds(config.rootfs.diff_ids);
    await unlessNotFound(this.#containerd.images.delete({ name: id, sync: true }));
    this.#publish('delete', id, id);
    const others = await Promise.all(
      [...new Set((await this.#records()).map(recordImageId))].map(async (other) => (await this.get(other)).config),
    );
    const used = new Set(others.flatMap((other) => chainIds(other.rootfs.diff_ids)));
    const layers = chain.filter((chainId) => !used.has(chainId)).reverse();
    return [id, ...layers].map((Deleted) => ({ Deleted }));
  }
}

function tryParse(text: string): Reference | undefined {
  try {
    return parseReference(text);
  } catch {
    return undefined;
  }
}

const fullOf = (text: string): string => {
  const reference = tryParse(text);
  return reference ? fullReference({ ...reference, tag: reference.tag ?? defaultTag }) : '';
};
const shortId = (id: string): string => id.slice('sha256:'.length, 'sha256:'.length + 12);
