import type { ImageCapabilities, LaunchOptions } from '@gantry/machine';
import type { ImageState, ImageWithState } from '../db/repositories/images.ts';
import type { JsonValue } from '../json.ts';
import { DomainError } from './errors.ts';
import { type Tags, tagsOf } from './tags.ts';
import { etagOfVersion } from './versions.ts';

export type { ImageState };

/** A disk image: one that the service keeps, one that is being made, or one that was deleted a while ago. */
export interface Image {
  readonly id: string;
  readonly compartmentId: string;
  readonly name: string;
  readonly kind: 'custom' | 'platform' | 'marketplace';
  readonly state: ImageState;
  /** The image that the instance it was made of was launched from. */
  readonly baseImageId: string | undefined;
  /** What it is made from, as a dialect's client sent it. */
  readonly source: JsonValue | undefined;
  /** Empty while nobody has said it. */
  readonly operatingSystem: string;
  readonly operatingSystemVersion: string;
  readonly launchMode: string | undefined;
  readonly launchOptions: LaunchOptions | undefined;
  /** What may be chosen at launch, as an archive said it. */
  readonly capabilities: ImageCapabilities | undefined;
  readonly tags: Tags;
  /** The job that makes it; undefined for images of before jobs were noted. */
  readonly jobId: string | undefined;
  /** The same until something of it changes. Without quotes. */
  readonly etag: string;
  readonly createdAtMs: number;
  /** Of an image of an instance that had been started: the point in time that it is of. */
  readonly capture: ImageCapture | undefined;
  /** Undefined while its content is not there. */
  readonly content: ImageContent | undefined;
}

export interface ImageCapture {
  /** The same for all images of one point in time. */
  readonly id: string;
  readonly takenAtMs: number;
  readonly consistency: 'shutdown' | 'agent' | 'crash';
}

export interface ImageContent {
  readonly manifestId: string;
  readonly sourceFormat: string;
  readonly virtualSizeBytes: number;
  readonly diskDigest: string;
  /** What the headers of the imported file said. */
  readonly details: JsonValue;
}

/** An image whose content is in the vault. */
export type StoredImage = Image & { readonly content: ImageContent };

export function toImage(row: ImageWithState): Image {
  return {
    id: row.id,
    compartmentId: row.compartment_id,
    name: row.name,
    kind: row.kind,
    state: row.state,
    baseImageId: row.base_image_id ?? undefined,
    source: row.source_json === null ? undefined : JSON.parse(row.source_json),
    operatingSystem: row.operating_system,
    operatingSystemVersion: row.operating_system_version,
    launchMode: row.launch_mode ?? undefined,
    launchOptions: row.launch_options_json === null ? undefined : JSON.parse(row.launch_options_json),
    capabilities: row.capabilities_json === null ? undefined : JSON.parse(row.capabilities_json),
    tags: tagsOf(row),
    jobId: row.job_id ?? undefined,
    etag: etagOfVersion(row.version),
    createdAtMs: row.created_at_ms,
    capture: captureOf(row),
    content: contentOf(row),
  };
}

function captureOf({
  capture_id: id,
  captured_at_ms: takenAtMs,
  consistency,
}: ImageWithState): ImageCapture | undefined {
  if (id === null || takenAtMs === null || consistency === null) return undefined;
  return { id, takenAtMs, consistency };
}

function contentOf(row: ImageWithState): ImageContent | undefined {
  const { manifest_id, source_format, virtual_size_bytes, disk_digest } = row;
  const isThere = row.deleted_at_ms === null && manifest_id !== null && disk_digest !== null;
  if (!isThere || source_format === null || virtual_size_bytes === null) return undefined;
  return {
    manifestId: manifest_id,
    sourceFormat: source_format,
    virtualSizeBytes: virtual_size_bytes,
    diskDigest: disk_digest,
    details: JSON.parse(row.details_json),
  };
}

export function noImage(id: string): DomainError {
  return new DomainError('NOT_FOUND', `there is no image ${id}`);
}

/** Throws NOT_FOUND for one that was deleted, CONFLICT for one that is being made. */
export function requireStored(image: Image): StoredImage {
  if (image.content !== undefined) return image as StoredImage;
  if (image.state === 'deleted') throw noImage(image.id);
  throw new DomainError('CONFLICT', `the image ${image.id} is ${image.state}: its content is not there yet`, {
    hint: 'wait for its job',
  });
}
