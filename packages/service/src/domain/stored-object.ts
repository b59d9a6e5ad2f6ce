import type { Principal } from '../auth/tokens.ts';
import type { ObjectRow } from '../db/schema.ts';
import { DomainError } from './errors.ts';
import { type ObjectAttributes, parseAttributes } from './object-attributes.ts';
import { type ViewSpec, viewSpec } from './view-spec.ts';

export interface StoredObject {
  readonly key: string;
  readonly lengthBytes: number;
  /** Without quotes; strong. */
  readonly etag: string;
  readonly contentType: string;
  readonly attributes: ObjectAttributes;
  /** When it was written last. */
  readonly createdAtMs: number;
  /** The image and the format that it shows, when it stores nothing of its own. */
  readonly view: { readonly manifestId: string; readonly spec: ViewSpec } | undefined;
}

/** Where an object is, and who asks. */
export interface ObjectPlace {
  readonly principal: Principal;
  readonly bucket: string;
  readonly key: string;
}

export function noObject(place: Pick<ObjectPlace, 'bucket' | 'key'>): DomainError {
  return new DomainError('NOT_FOUND', `there is no object ${place.key} in bucket ${place.bucket}`, {
    subject: 'object',
  });
}

export function toObject(row: ObjectRow): StoredObject {
  const { manifest_id: manifestId, view_json: viewJson } = row;
  return {
    key: row.object_key,
    lengthBytes: row.length_bytes,
    etag: row.etag,
    contentType: row.content_type,
    attributes: parseAttributes(row.attributes_json),
    createdAtMs: row.created_at_ms,
    view:
      manifestId === null || viewJson === null
        ? undefined
        : { manifestId, spec: viewSpec.parse(JSON.parse(viewJson)) },
  };
}
