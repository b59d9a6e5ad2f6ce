import type { IncomingHttpHeaders } from 'node:http';
import { z } from 'zod';
import { CHECKSUM_BYTES, type ChecksumName, type Checksums } from '../../../domain/checksums.ts';
import { DomainError } from '../../../domain/errors.ts';
import { type ObjectAttributes, type StorageTier, storageTiers } from '../../../domain/object-attributes.ts';
import type { StoredObject } from '../../../domain/stored-object.ts';

const META = 'opc-meta-';

const checksumHeaders = [
  ['md5', 'content-md5'],
  ['crc32c', 'opc-content-crc32c'],
  ['sha256', 'opc-content-sha256'],
  ['sha384', 'opc-content-sha384'],
] as const satisfies readonly (readonly [ChecksumName, string])[];

/** `opc-checksum-algorithm`. */
const algorithms: Readonly<Record<string, ChecksumName>> = {
  CRC32C: 'crc32c',
  SHA256: 'sha256',
  SHA384: 'sha384',
};

/** What the headers of a PUT say of the object. Throws INVALID for what is not kept or not done. */
export function attributesOfHeaders(headers: IncomingHttpHeaders): ObjectAttributes {
  requireNoCustomerKeys(headers);
  const metadata = Object.fromEntries(
    Object.entries(headers)
      .filter(([name]) => name.startsWith(META))
      .map(([name, value]) => [name.slice(META.length), String(value)]),
  );
  return {
    ...(Object.keys(metadata).length > 0 && { metadata }),
    contentLanguage: headers['content-language'],
    contentEncoding: headers['content-encoding'] === 'identity' ? undefined : headers['content-encoding'],
    contentDisposition: headers['content-disposition'],
    cacheControl: cacheControlOf(headers),
    storageTier: storageTierOf(textOf(headers['storage-tier'])),
  };
}

/** The checksums that were sent. Throws INVALID for what is none. */
export function expectedChecksums(headers: IncomingHttpHeaders): Checksums {
  const sent = checksumHeaders.map(([name, header]) => [name, textOf(headers[header])] as const);
  for (const [name, value] of sent) {
    if (value === undefined || Buffer.from(value, 'base64').length === CHECKSUM_BYTES[name]) continue;
    throw new DomainError('INVALID', `${name} is the base64 of ${CHECKSUM_BYTES[name]} bytes`);
  }
  return Object.fromEntries(sent.filter(([, value]) => value !== undefined));
}

/** The checksums to compute: the MD5, which OCI always gives, and the one that was asked for. Throws INVALID. */
export function wantedChecksums(headers: IncomingHttpHeaders): readonly ChecksumName[] {
  const text = textOf(headers['opc-checksum-algorithm']);
  if (text === undefined) return ['md5'];
  const algorithm = algorithms[text.toUpperCase()];
  if (algorithm !== undefined) return ['md5', algorithm];
  throw new DomainError('INVALID', `there is no checksum ${JSON.stringify(text)}`, {
    hint: `use one of ${Object.keys(algorithms).join(', ')}`,
  });
}

/** What object storage says in headers of an object that is read. */
export function headersOfObject(object: StoredObject): Record<string, string | undefined> {
  const { metadata = {}, storageTier = 'Standard', checksums = {}, partChecksums = {} } = object.attributes;
  return {
    ...Object.fromEntries(Object.entries(metadata).map(([name, value]) => [`${META}${name}`, value])),
    etag: object.etag,
    'version-id': object.etag,
    'storage-tier': storageTier,
    ...Object.fromEntries(checksumHeaders.map(([name, header]) => [header, checksums[name]])),
    'opc-multipart-md5': partChecksums.md5,
    'opc-multipart-sha256': partChecksums.sha256,
    'opc-multipart-sha384': partChecksums.sha384,
  };
}

/** What it says of one that was written, or of a part. */
export function headersOfChecksums(checksums: Checksums): Record<string, string | undefined> {
  const { 'content-md5': md5, ...others } = Object.fromEntries(
    checksumHeaders.map(([name, header]) => [header, checksums[name]]),
  );
  return { 'opc-content-md5': md5, ...others };
}

/** Throws INVALID for a tier that objects cannot be in here. */
export function storageTierOf(tier: string | null | undefined): StorageTier | undefined {
  if (tier === undefined || tier === null) return undefined;
  const known = storageTiers.find((each) => each === tier);
  if (known !== undefined) return known;
  throw new DomainError('INVALID', `objects are not kept in the storage tier ${JSON.stringify(tier)} here`, {
    hint: `use one of ${storageTiers.join(', ')}`,
  });
}

/** Metadata in a body, whose names may have the prefix of headers. */
export const metadataField = z
  .record(z.string(), z.string())
  .nullish()
  .transform((metadata) => metadata && withoutPrefix(metadata));

function withoutPrefix(metadata: Readonly<Record<string, string>>): Record<string, string> {
  const named = Object.entries(metadata).map(([name, value]) => {
    const small = name.toLowerCase();
    return [small.startsWith(META) ? small.slice(META.length) : small, value];
  });
  return Object.fromEntries(named);
}

/** Encryption that the client holds the key of, which it would take for done. Throws INVALID. */
export function requireNoCustomerKeys(headers: IncomingHttpHeaders): void {
  const [asked] = Object.keys(headers).filter(
    (name) => name.startsWith('opc-sse-') || name.startsWith('opc-source-sse-'),
  );
  if (asked === undefined) return;
  throw new DomainError('INVALID', `${asked}: this service does not encrypt with keys of its clients`, {
    hint: 'encrypt the bytes before they are sent, or the disks of the service',
  });
}

/** Fetch adds `no-cache` of its own accord to conditional requests, with a Pragma: that is not the object's. */
function cacheControlOf(headers: IncomingHttpHeaders): string | undefined {
  const { 'cache-control': value, pragma } = headers;
  return value === 'no-cache' && pragma === 'no-cache' ? undefined : value;
}

function textOf(header: string | readonly string[] | undefined): string | undefined {
  return header === undefined ? undefined : String(header);
}
