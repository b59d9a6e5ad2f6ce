import { z } from 'zod';
import { DomainError } from './errors.ts';

/** What a bucket has besides its name and its place: kept as JSON with it. */
export const bucketAttributes = z.object({
  metadata: z.record(z.string(), z.string()).optional(),
});
export type BucketAttributes = z.infer<typeof bucketAttributes>;

/** Oracle's API reference, CreateBucketDetails: up to 4 KB. */
const METADATA_BYTES_MAX = 4096;

/** Throws INVALID for more than a bucket holds. */
export function requireBucketMetadata(metadata: Readonly<Record<string, string>>): void {
  const sizeBytes = Object.entries(metadata).reduce((sum, pair) => sum + Buffer.byteLength(pair.join('')), 0);
  if (sizeBytes <= METADATA_BYTES_MAX) return;
  throw new DomainError('INVALID', `a bucket's metadata has at most ${METADATA_BYTES_MAX} bytes`);
}

const LABEL = '[a-z0-9](?:[a-z0-9-]*[a-z0-9])?';
const PORTABLE_NAME = new RegExp(`^${LABEL}(?:\\.${LABEL})*$`);
const IPV4 = /^\d+\.\d+\.\d+\.\d+$/;
/** Oracle's API reference, CreateBucketDetails. */
const OCI_NAME = /^[A-Za-z0-9_.-]{1,256}$/;

/** Whose rules a bucket's name keeps: those of all dialects, or of OCI alone. */
export type BucketNaming = 'portable' | 'oci';

/**
 * Throws INVALID for a name that is none. A portable one is taken by clients of S3, OBS and OCI: 3 to 63 characters,
 * small letters, digits, hyphens and dots, each label between dots beginning and ending with a letter or digit (it may
 * become part of a host name), neither an IPv4 address nor the encoding of another name (`xn--`).
 */
export function requireBucketName(name: string, naming: BucketNaming): void {
  const isPortable =
    name.length >= 3 &&
    name.length <= 63 &&
    PORTABLE_NAME.test(name) &&
    !IPV4.test(name) &&
    !name.startsWith('xn--');
  // A segment of a path that is one of these is taken away by clients.
  const isOci = OCI_NAME.test(name) && name !== '.' && name !== '..';
  if (isPortable || (naming === 'oci' && isOci)) return;
  throw new DomainError('INVALID', `${JSON.stringify(name)} cannot be a bucket's name`, {
    hint: 'take 3 to 63 small letters, digits, hyphens and dots, such as vm-images',
  });
}
