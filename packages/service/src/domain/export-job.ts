import {
  denyReferences,
  diskDigest,
  type ImageStream,
  type Layout,
  openDisk,
  StoreError,
} from '@gantry/disk';
import type { ObjectStore, StoredPiece } from '@gantry/storage';
import { z } from 'zod';
import { deleteJobSecret } from '../db/repositories/job-secrets.ts';
import type { JobContext, JobHandler } from '../jobs/handler.ts';
import { goesOn } from '../jobs/job-error.ts';
import type { JsonValue } from '../json.ts';
import type { Vault } from '../vault/vault.ts';
import type { VaultDisk } from '../vault/vault-disk.ts';
import { requireBucket } from './buckets.ts';
import { DEFAULT_CONTENT_TYPE } from './content-type.ts';
import { DomainError } from './errors.ts';
import { type ExportCheckpoint, exportCheckpoint, PieceWriter } from './export-pieces.ts';
import { exportToServer, requireReadable, type TargetParts, targetPlace } from './export-targets.ts';
import { type ObjectWrite, writeObject } from './object-writes.ts';
import { leaveUpload } from './remote-upload.ts';
import { requireSamplesEqual } from './samples.ts';
import { newEtag, type StoredBytes } from './stored-bytes.ts';
import type { ObjectPlace } from './stored-object.ts';
import { viewSpec } from './view-spec.ts';

export const exportInput = z.object({
  imageId: z.string(),
  /** Kept alive by the job, so that the image may be deleted meanwhile. */
  manifestId: z.string(),
  view: viewSpec,
  bucket: z.string().optional(),
  key: z.string().optional(),
  /** The target is an address that is kept apart: of this service, or of another server. */
  via: z.enum(['par', 'url']).optional(),
  /** As much of that address as may be shown. */
  shownUrl: z.string().optional(),
  /** Store the bytes even where a view would do. */
  materialize: z.boolean(),
});
export type ExportInput = z.infer<typeof exportInput>;

export interface ExportJobParts extends TargetParts {
  readonly vault: Vault;
  readonly bytes: StoredBytes;
}

/** An export that ends in an object of this service. */
interface ObjectExport {
  readonly input: ExportInput;
  readonly place: ObjectPlace;
  readonly disk: VaultDisk;
}

/**
 * Puts an image into a bucket in a format: as a view, which takes no room, or as stored bytes where the format
 * has no length before it is written or bytes were asked for. The object appears when it was read back. Or sends it
 * to an address of another server.
 */
export function exportHandler(parts: ExportJobParts): JobHandler {
  return async (context) => {
    const input = exportInput.parse(context.input);
    try {
      return await exportImage(parts, context, input);
    } catch (error) {
      if (input.via === 'url' && !goesOn(error, context.signal)) await leaveUpload(parts, context);
      throw error;
    }
  };
}

async function exportImage(
  parts: ExportJobParts,
  context: JobContext,
  input: ExportInput,
): Promise<JsonValue> {
  await context.phase('plan');
  await requireReadable(parts, context, input.imageId);
  const disk = await parts.vault.openManifest(input.manifestId);
  try {
    if (input.via !== undefined) forgetAddressAtSuccess(context);
    if (input.via === 'url') return await exportToServer(parts, context, input, disk);
    const target: ObjectExport = { input, disk, place: await targetPlace(parts, context, input) };
    return await parts.views.withPlan(input.manifestId, input.view, async ({ plan, etag }) =>
      plan.kind === 'layout' && !input.materialize
        ? exportView(parts, context, target, etag)
        : exportBytes(parts, context, target, plan),
    );
  } finally {
    await disk.close();
  }
}

function forgetAddressAtSuccess(context: JobContext): void {
  context.atSuccess((transaction) => deleteJobSecret(transaction, context.job.id));
}

async function exportView(
  parts: ExportJobParts,
  context: JobContext,
  target: ObjectExport,
  etag: string,
): Promise<JsonValue> {
  const { input, place, disk } = target;
  await context.phase('verify');
  const { source } = await parts.views.open(input.manifestId, input.view);
  try {
    const sampledBytes = await requireSamplesEqual(disk, source, input.view.format, context.signal);
    const { lengthBytes } = source;
    const { manifestId, view } = input;
    writeAtSuccess(parts, context, target, {
      etag,
      content: { kind: 'view', manifestId, view, lengthBytes },
    });
    const verified = `its ends and random places, ${sampledBytes} bytes, were read back and are the image's`;
    return { bucket: place.bucket, key: place.key, lengthBytes, etag, storedBytes: 0, verified };
  } finally {
    await source.close();
  }
}

async function exportBytes(
  parts: ExportJobParts,
  context: JobContext,
  target: ObjectExport,
  plan: Layout | ImageStream,
): Promise<JsonValue> {
  const { input, place, disk } = target;
  const saved = await savedCheckpoint(parts.bytes.store, context);
  const writer = new PieceWriter(parts.bytes.store, context, saved);
  try {
    if (plan.kind === 'stream') await writer.writeStream(plan, disk.virtualSizeBytes);
    else {
      const { source } = await parts.views.open(input.manifestId, input.view);
      await writer.writeSource(source).finally(() => source.close());
    }
    await requireDigest(parts.bytes.store, context, input, disk, writer.pieces);
    const { pieces } = writer;
    const etag = newEtag(pieces.length);
    writeAtSuccess(parts, context, target, { etag, content: { kind: 'stored', pieces } }, writer.stateNames);
    const lengthBytes = pieces.reduce((sum, piece) => sum + piece.lengthBytes, 0);
    const verified = 'all of it was read back and has the digest of the image';
    return { bucket: place.bucket, key: place.key, lengthBytes, etag, storedBytes: lengthBytes, verified };
  } catch (error) {
    // What may pass goes on from the checkpoint; anything else leaves nothing behind, and a retry begins anew.
    if (!goesOn(error, context.signal)) {
      await context.saveCheckpoint({ pieces: [] });
      await writer.discard();
    }
    throw error;
  }
}

/** Where the attempt before ended. A job that had failed may be retried when its pieces were cleared away. */
async function savedCheckpoint(store: ObjectStore, context: JobContext): Promise<ExportCheckpoint> {
  if (context.checkpoint === undefined) return { pieces: [] };
  const saved = exportCheckpoint.parse(context.checkpoint);
  for (const piece of [...saved.pieces, ...(saved.state === undefined ? [] : [saved.state])]) {
    try {
      await (await store.open([piece])).close();
    } catch (error) {
      if (error instanceof StoreError && error.code === 'STORE_NOT_FOUND') return { pieces: [] };
      throw error;
    }
  }
  return saved;
}

/**
 * Lets the object appear together with the job's success. What its key named before is removed then, and what
 * only the job needed.
 */
function writeAtSuccess(
  parts: ExportJobParts,
  context: JobContext,
  { place, disk }: ObjectExport,
  object: Pick<ObjectWrite, 'etag' | 'content'>,
  ofJob: readonly string[] = [],
): void {
  let unneeded: readonly string[] = [];
  context.atSuccess(async (transaction) => {
    const bucket = await requireBucket(transaction, place.principal.tenancyId, place.bucket);
    const attributes = { metadata: { [DIGEST_METADATA]: disk.diskDigest ?? '' } };
    const write = { ...object, bucket, key: place.key, contentType: DEFAULT_CONTENT_TYPE, attributes };
    await deleteJobSecret(transaction, context.job.id);
    unneeded = (await writeObject(transaction, write)).unneeded;
  });
  context.afterSuccess(() => parts.bytes.discard([...unneeded, ...ofJob]));
}

/** Metadata of an exported object: the digest of its disk, which tools that know no views can compare. */
const DIGEST_METADATA = 'gantry-disk-digest';

/** Reads everything that was stored and compares its digest with the image's. */
async function requireDigest(
  store: ObjectStore,
  context: JobContext,
  input: ExportInput,
  disk: VaultDisk,
  pieces: readonly StoredPiece[],
): Promise<void> {
  await context.phase('verify', disk.virtualSizeBytes);
  const source = await store.open(pieces);
  try {
    const { format } = input.view;
    const written = await openDisk(source, { references: denyReferences, format, signal: context.signal });
    const onProgress = ({ doneBytes }: { doneBytes: number }) => context.progress(doneBytes);
    const digest = await diskDigest(written, { signal: context.signal, onProgress }).finally(() =>
      written.close(),
    );
    if (digest === disk.diskDigest) return;
    throw new DomainError(
      'VERIFY_FAILED',
      `what was written has the digest ${digest}, the image ${disk.diskDigest}`,
      {
        hint: 'nothing was put into the bucket; check the vault and the disks of this machine',
      },
    );
  } finally {
    await source.close();
  }
}
