import { z } from 'zod';
import { type Checksums, checksumNames } from './checksums.ts';
import { DomainError } from './errors.ts';

/** Where OCI would keep an object. All are kept alike here; the name is given back. */
export const storageTiers = ['Standard', 'InfrequentAccess'] as const;
export type StorageTier = (typeof storageTiers)[number];

const base64 = z.string().optional();
const checksums = z.object(Object.fromEntries(checksumNames.map((name) => [name, base64])));

/** What an object has besides its bytes, its type and its ETag: kept as JSON with it. */
export const objectAttributes = z.object({
  /** Of the user's own, by names in small letters. */
  metadata: z.record(z.string(), z.string()).optional(),
  contentLanguage: z.string().optional(),
  contentEncoding: z.string().optional(),
  contentDisposition: z.string().optional(),
  cacheControl: z.string().optional(),
  storageTier: z.enum(storageTiers).optional(),
  /** Of all bytes. */
  checksums: checksums.optional(),
  /** Of an object that was uploaded in parts: the checksum of the parts' checksums, and how many they are. */
  partChecksums: checksums.optional(),
});
export type ObjectAttributes = z.infer<typeof objectAttributes>;

/** OCI's bound for all names and values of an object's metadata. */
const METADATA_BYTES_MAX = 4000;
const HEADER_VALUE = /^[\x20-\x7e]{0,1000}$/;
/** As header names are (RFC 9110, section 5.1), small. */
const METADATA_NAME = /^[a-z0-9!#$%&'*+.^_`|~-]{1,128}$/;
const HEADERS = ['contentLanguage', 'contentEncoding', 'contentDisposition', 'cacheControl'] as const;

/** Throws INVALID for what could not be given back as headers. */
export function requireAttributes(attributes: ObjectAttributes): void {
  for (const name of HEADERS) {
    const value = attributes[name];
    if (value === undefined || HEADER_VALUE.test(value)) continue;
    throw new DomainError('INVALID', `${name} is at most 1000 characters of ASCII`);
  }
  requireMetadata(attributes.metadata ?? {});
}

/** Throws INVALID for metadata that is too long, or could not be given back as headers. */
export function requireMetadata(metadata: Readonly<Record<string, string>>): void {
  let sizeBytes = 0;
  for (const [name, value] of Object.entries(metadata)) {
    if (!METADATA_NAME.test(name) || !/^[\x20-\x7e]*$/.test(value)) {
      throw new DomainError('INVALID', `${JSON.stringify(name)} cannot be metadata`, {
        hint: 'take names of small letters, digits and hyphens, and values of ASCII',
      });
    }
    sizeBytes += name.length + value.length;
  }
  if (sizeBytes <= METADATA_BYTES_MAX) return;
  throw new DomainError('INVALID', `all metadata together has at most ${METADATA_BYTES_MAX} bytes`);
}

export function attributesJson(attributes: ObjectAttributes): string {
  return JSON.stringify(attributes);
}

export function parseAttributes(json: string): ObjectAttributes {
  return objectAttributes.parse(JSON.parse(json));
}

/** With the checksums that were computed of the bytes. */
export function withChecksums(
  attributes: ObjectAttributes,
  whole: Checksums,
  ofParts: Checksums = {},
): ObjectAttributes {
  return {
    ...attributes,
    ...(Object.keys(whole).length > 0 && { checksums: whole }),
    ...(Object.keys(ofParts).length > 0 && { partChecksums: ofParts }),
  };
}
