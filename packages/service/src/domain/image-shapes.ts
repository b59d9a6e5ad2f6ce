import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { type Page, toPage } from '../db/page.ts';
import { deleteImageShape, listImageShapes, putImageShape } from '../db/repositories/image-shapes.ts';
import { findImage } from '../db/repositories/images.ts';
import type { ImageShapeRow } from '../db/schema.ts';
import { DomainError } from './errors.ts';
import { type Image, noImage, toImage } from './image.ts';
import type { Images } from './images.ts';

/** A shape that an image may be launched with, and the part of a flexible one that it may take. */
export interface ImageShape {
  readonly shape: string;
  readonly ocpuConstraints:
    | { readonly min?: number | undefined; readonly max?: number | undefined }
    | undefined;
  readonly memoryConstraints:
    | { readonly minInGBs?: number | undefined; readonly maxInGBs?: number | undefined }
    | undefined;
}

const NAME = /^[\w.-]{1,255}$/;

/** With which shapes images may be launched: those that an image names, or any while it names none. */
export class ImageShapes {
  readonly images: Images;
  readonly #database: Database;

  constructor(database: Database, images: Images) {
    this.images = images;
    this.#database = database;
  }

  /** By name. Throws NOT_FOUND. */
  async list(
    principal: Principal,
    imageId: string,
    { startAfter, limit }: { readonly startAfter?: string | undefined; readonly limit: number },
  ): Promise<Page<ImageShape>> {
    await this.#require(principal, imageId, 'inspect');
    const rows = await listImageShapes(this.#database.kysely, imageId);
    const behind = rows.filter(({ shape }) => startAfter === undefined || shape > startAfter);
    const { items, next } = toPage(behind.slice(0, limit + 1), limit, ({ shape }) => shape);
    return { items: items.map(toImageShape), next };
  }

  /** Throws NOT_FOUND. */
  async get(principal: Principal, imageId: string, shape: string): Promise<ImageShape> {
    await this.#require(principal, imageId, 'inspect');
    const row = (await listImageShapes(this.#database.kysely, imageId)).find((each) => each.shape === shape);
    if (row !== undefined) return toImageShape(row);
    throw noShape(imageId, shape);
  }

  /** Adds it, or writes over what was said of it. Throws NOT_FOUND, INVALID. */
  async put(principal: Principal, imageId: string, entry: ImageShape): Promise<void> {
    if (!NAME.test(entry.shape))
      throw new DomainError('INVALID', `${JSON.stringify(entry.shape)} is no name of a shape`);
    await this.#require(principal, imageId, 'use');
    await putImageShape(this.#database.kysely, {
      image_id: imageId,
      shape: entry.shape,
      ocpu_json: entry.ocpuConstraints === undefined ? null : JSON.stringify(entry.ocpuConstraints),
      memory_json: entry.memoryConstraints === undefined ? null : JSON.stringify(entry.memoryConstraints),
    });
  }

  /** Throws NOT_FOUND. */
  async delete(principal: Principal, imageId: string, shape: string): Promise<void> {
    await this.#require(principal, imageId, 'use');
    if (!(await deleteImageShape(this.#database.kysely, imageId, shape))) throw noShape(imageId, shape);
  }

  /** Throws INVALID unless the image may be launched with the shape. */
  async requireFits(imageId: string, shape: string): Promise<void> {
    const rows = await listImageShapes(this.#database.kysely, imageId);
    if (rows.length === 0 || rows.some((row) => row.shape === shape)) return;
    throw new DomainError('INVALID', `Shape ${shape} is not valid for image ${imageId}.`, {
      hint: `it is compatible with ${rows.map((row) => row.shape).join(', ')}; add an entry for other shapes`,
    });
  }

  /** Whoever asks: for what was made of the image. */
  async imageOf(tenancyId: string, imageId: string | null): Promise<Image | undefined> {
    const row = imageId === null ? undefined : await findImage(this.#database.kysely, tenancyId, imageId);
    return row === undefined ? undefined : toImage(row);
  }

  async #require(principal: Principal, imageId: string, verb: 'inspect' | 'use'): Promise<void> {
    const image = await this.images.get(principal, imageId, verb);
    if (image.state === 'deleted') throw noImage(imageId);
  }
}

function noShape(imageId: string, shape: string): DomainError {
  return new DomainError('NOT_FOUND', `the image ${imageId} has no entry for the shape ${shape}`);
}

function toImageShape({ shape, ocpu_json, memory_json }: ImageShapeRow): ImageShape {
  return {
    shape,
    ocpuConstraints: ocpu_json === null ? undefined : JSON.parse(ocpu_json),
    memoryConstraints: memory_json === null ? undefined : JSON.parse(memory_json),
  };
}
