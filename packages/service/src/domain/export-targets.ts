import { denyReferences, diskDigest, httpSource, openDisk, StoreError, shownAddress } from '@gantry/disk';
import type { guardedFetch } from '@gantry/storage';
import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { findImage } from '../db/repositories/images.ts';
import type { JobContext } from '../jobs/handler.ts';
import type { JsonValue } from '../json.ts';
import type { VaultDisk } from '../vault/vault-disk.ts';
import type { Access } from './access.ts';
import { bucketFor, MANAGE_OBJECTS } from './buckets.ts';
import { DomainError } from './errors.ts';
import { noImage } from './image.ts';
import { type RemoteUploadParts, uploadAddress, uploadFile } from './remote-upload.ts';
import type { ObjectPlace } from './stored-object.ts';
import type { ViewSpec } from './view-spec.ts';
import type { ImageViews } from './views.ts';

export interface TargetParts extends RemoteUploadParts {
  readonly database: Database;
  readonly access: Access;
  readonly views: ImageViews;
  /** Who asked for a job, with the rights of now. Throws NOT_FOUND. */
  readonly requirePrincipal: (userId: string | undefined) => Promise<Principal>;
  /** The object that an address of a pre-authenticated request lets write. Throws NOT_FOUND. */
  readonly parPlace: (url: URL, action: 'write') => Promise<ObjectPlace>;
  readonly fetch: ReturnType<typeof guardedFetch>;
}

/** Where an export goes to, as its job's input says it. */
export interface ExportTarget {
  readonly bucket?: string | undefined;
  readonly key?: string | undefined;
  /** By an address that is kept apart: of a pre-authenticated request of this service, or of another server. */
  readonly via?: 'par' | 'url' | undefined;
}

/**
 * The object of this service that an export writes, for who may write it now. Throws NOT_FOUND and FORBIDDEN, which
 * say what was looked for.
 */
export async function targetPlace(
  parts: TargetParts,
  context: JobContext,
  { bucket, key, via }: ExportTarget,
): Promise<ObjectPlace> {
  const { job } = context;
  if (via === 'par') return parts.parPlace(await uploadAddress(parts, job.id), 'write');
  if (bucket === undefined || key === undefined) throw new TypeError(`job ${job.id} names no target`);
  const principal = await parts.requirePrincipal(job.userId);
  await bucketFor(parts.database.kysely, parts.access, principal, bucket, MANAGE_OBJECTS);
  return { principal, bucket, key };
}

/** Throws NOT_FOUND and FORBIDDEN when who asked may read the image no more: it may leave the service now. */
export async function requireReadable(
  { access, database, requirePrincipal }: TargetParts,
  { job }: JobContext,
  imageId: string,
): Promise<void> {
  const principal = await requirePrincipal(job.userId);
  const image = await findImage(database.kysely, principal.tenancyId, imageId);
  if (image === undefined) throw noImage(imageId);
  await access.demand(principal, 'read', 'images', image.compartment_id, () => noImage(imageId));
}

/** Sends the image as a file to another server, without a file in between, and reads it back where it may. */
export async function exportToServer(
  parts: TargetParts,
  context: JobContext,
  input: { readonly manifestId: string; readonly view: ViewSpec },
  disk: VaultDisk,
): Promise<JsonValue> {
  const address = await uploadAddress(parts, context.job.id);
  const { source, etag } = await parts.views.open(input.manifestId, input.view);
  const { lengthBytes } = source;
  try {
    await uploadFile(parts, context, source, etag);
  } finally {
    await source.close();
  }
  const verified = await verifiedThere(parts, context, address, lengthBytes, input.view.format, disk);
  return { url: shownAddress(address), lengthBytes, etag, storedBytes: lengthBytes, verified };
}

/** What was verified, in words. Throws VERIFY_FAILED. */
async function verifiedThere(
  { fetch }: TargetParts,
  context: JobContext,
  address: URL,
  lengthBytes: number,
  format: string,
  disk: VaultDisk,
): Promise<string> {
  const { signal } = context;
  await context.phase('verify', disk.virtualSizeBytes);
  const head = await fetch(address.href, { method: 'HEAD', headers: {}, signal });
  for await (const _ of head.body ?? []);
  if (head.status !== 200) return unread(context, `HEAD is answered ${head.status}`);
  const length = Number(head.headers.get('content-length'));
  if (length !== lengthBytes) throw differs(`the file there has ${length} bytes instead of ${lengthBytes}`);
  try {
    const file = await httpSource(address.href, { fetch, signal });
    try {
      const written = await openDisk(file, { references: denyReferences, format, signal });
      const onProgress = ({ doneBytes }: { doneBytes: number }) => context.progress(doneBytes);
      const digest = await diskDigest(written, { signal, onProgress }).finally(() => written.close());
      if (digest !== disk.diskDigest) throw differs(`the file there has the digest ${digest}`);
    } finally {
      await file.close();
    }
  } catch (error) {
    const mayNotRead =
      error instanceof StoreError &&
      ['STORE_DENIED', 'STORE_NOT_FOUND', 'STORE_REFUSED'].includes(error.code);
    if (!mayNotRead) throw error;
    return unread(context, error.message);
  }
  return 'all of it was read back and has the digest of the image';
}

/** The address is for writing only: there is no more to be known. */
function unread(context: JobContext, why: string): string {
  context.log('warning', `what was sent cannot be read back: ${why}`);
  return 'the server took all bytes; the address does not let them be read back';
}

function differs(how: string): DomainError {
  return new DomainError('VERIFY_FAILED', how, { hint: 'export again' });
}
