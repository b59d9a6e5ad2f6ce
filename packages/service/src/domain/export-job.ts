import {
  type ByteSource,
  denyReferences,
  diskDigest,
  type ImageStream,
  type Layout,
  openDisk,
  StoreError,
} from '@gantry/disk';
import { newStoredName, type ObjectStore, type StoredPiece } from '@gantry/storage';
import { z } from 'zod';
import type { Database } from '../db/database.ts';
import type { JobContext, JobHandler } from '../jobs/handler.ts';
import { goesOn } from '../jobs/job-error.ts';
import type { JsonValue } from '../json.ts';
import type { Vault } from '../vault/vault.ts';
import type { VaultDisk } from '../vault/vault-disk.ts';
import { requireBucket } from './buckets.ts';
import { DEFAULT_CONTENT_TYPE } from './content-type.ts';
import { DomainError } from './errors.ts';
import { type ObjectWrite, writeObject } from './object-writes.ts';
import { requireSamplesEqual } from './samples.ts';
import { newEtag, type StoredBytes } from './stored-bytes.ts';
import { viewSpec } from './view-spec.ts';
import type { ImageViews } from './views.ts';

export const exportInput = z.object({
  imageId: z.string(),
  /** Kept alive by the job, so that the image may be deleted meanwhile. */
  manifestId: z.string(),
  view: viewSpec,
  bucket: z.string(),
  key: z.string(),
  /** Store the bytes even where a view would do. */
  materialize: z.boolean(),
});
export type ExportInput = z.infer<typeof exportInput>;

const storedPiece = z.object({ name: z.string(), lengthBytes: z.number().int() });
export const exportCheckpoint = z.object({
  pieces: z.array(storedPiece),
  /** Piece that holds where a stream goes on. */
  state: storedPiece.optional(),
});
type ExportCheckpoint = z.infer<typeof exportCheckpoint>;

export interface ExportJobParts {
  readonly database: Database;
  readonly vault: Vault;
  readonly views: ImageViews;
  readonly bytes: StoredBytes;
}

/** A part of stored bytes: what a kill costs at most. */
const PART_BYTES: number = 64 * 1024 * 1024;
const READ_BYTES: number = 1024 * 1024;

/**
 * Puts an image into a bucket in a format: as a view, which takes no room, or as stored bytes where the format
 * has no length before it is written or bytes were asked for. The object appears when it was read back.
 */
export function exportHandler(parts: ExportJobParts): JobHandler {
  return async (context) => {
    const input = exportInput.parse(context.input);
    await requireBucket(parts.database.kysely, context.job.tenancyId, input.bucket);
    await context.phase('plan');
    const disk = await parts.vault.openManifest(input.manifestId);
    try {
      return await parts.views.withPlan(input.manifestId, input.view, async ({ plan, etag }) =>
        plan.kind === 'layout' && !input.materialize
          ? exportView(parts, context, input, disk, etag)
          : exportBytes(parts, context, input, disk, plan),
      );
    } finally {
      await disk.close();
    }
  };
}

async function exportView(
  parts: ExportJobParts,
  context: JobContext,
  input: ExportInput,
  disk: VaultDisk,
  etag: string,
): Promise<JsonValue> {
  await context.phase('verify');
  const { source } = await parts.views.open(input.manifestId, input.view);
  try {
    const sampledBytes = await requireSamplesEqual(disk, source, input.view.format, context.signal);
    const { lengthBytes } = source;
    const { manifestId, view } = input;
    writeAtSuccess(parts, context, input, { etag, content: { kind: 'view', manifestId, view, lengthBytes } });
    const verified = `its ends and random places, ${sampledBytes} bytes, were read back and are the image's`;
    return { bucket: input.bucket, key: input.key, lengthBytes, etag, storedBytes: 0, verified };
  } finally {
    await source.close();
  }
}

async function exportBytes(
  parts: ExportJobParts,
  context: JobContext,
  input: ExportInput,
  disk: VaultDisk,
  plan: Layout | ImageStream,
): Promise<JsonValue> {
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
    writeAtSuccess(parts, context, input, { etag, content: { kind: 'stored', pieces } }, writer.stateNames);
    const lengthBytes = pieces.reduce((sum, piece) => sum + piece.lengthBytes, 0);
    const verified = 'all of it was read back and has the digest of the image';
    return { bucket: input.bucket, key: input.key, lengthBytes, etag, storedBytes: lengthBytes, verified };
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
  input: ExportInput,
  object: Pick<ObjectWrite, 'etag' | 'content'>,
  ofJob: readonly string[] = [],
): void {
  let unneeded: readonly string[] = [];
  context.atSuccess(async (transaction) => {
    const bucket = await requireBucket(transaction, context.job.tenancyId, input.bucket);
    const write = { ...object, bucket, key: input.key, contentType: DEFAULT_CONTENT_TYPE };
    unneeded = (await writeObject(transaction, write)).unneeded;
  });
  context.afterSuccess(() => parts.bytes.discard([...unneeded, ...ofJob]));
}

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

/** Writes an object piece by piece; after each, another attempt can go on from there. */
class PieceWriter {
  readonly #store: ObjectStore;
  readonly #context: JobContext;
  readonly pieces: StoredPiece[];
  #state: StoredPiece | undefined;

  constructor(store: ObjectStore, context: JobContext, saved: ExportCheckpoint) {
    this.#store = store;
    this.#context = context;
    this.pieces = [...saved.pieces];
    this.#state = saved.state;
  }

  get #writtenBytes(): number {
    return this.pieces.reduce((sum, piece) => sum + piece.lengthBytes, 0);
  }

  /** What no object needs: where a stream went on. */
  get stateNames(): string[] {
    return this.#state === undefined ? [] : [this.#state.name];
  }

  /** A source of known length, from behind the pieces that are there already. */
  async writeSource(source: ByteSource): Promise<void> {
    const { signal } = this.#context;
    await this.#context.phase('write', source.lengthBytes, this.#writtenBytes);
    for (let from = this.#writtenBytes; from < source.lengthBytes; from = this.#writtenBytes) {
      const to = Math.min(source.lengthBytes, from + PART_BYTES);
      const onBytes = (doneBytes: number) => this.#context.progress(from + doneBytes);
      this.pieces.push(await this.#put(readRange(source, from, to, signal), onBytes));
      await this.#save();
    }
  }

  /** A stream: its body in pieces, then its front, which stands before them. */
  async writeStream(stream: ImageStream, virtualSizeBytes: number): Promise<void> {
    const { signal } = this.#context;
    await this.#context.phase('compress', virtualSizeBytes);
    const resumeFrom = this.#state === undefined ? undefined : await this.#readState(this.#state);
    const onProgress = ({ doneBytes }: { doneBytes: number }) => this.#context.progress(doneBytes);
    let part: Uint8Array[] = [];
    let partBytes = 0;
    const front: Uint8Array[] = [];
    for await (const chunk of stream.chunks({ signal, onProgress, ...(resumeFrom && { resumeFrom }) })) {
      if (chunk.offsetBytes < stream.frontBytes) {
        front.push(chunk.bytes.slice());
        continue;
      }
      part.push(chunk.bytes.slice());
      partBytes += chunk.bytes.length;
      if (partBytes < PART_BYTES || chunk.checkpoint === undefined) continue;
      this.pieces.push(await this.#put(part));
      await this.#save(chunk.checkpoint());
      part = [];
      partBytes = 0;
    }
    if (part.length > 0) this.pieces.push(await this.#put(part));
    if (front.length > 0) this.pieces.unshift(await this.#put(front));
  }

  /** Removes everything that was written. */
  async discard(): Promise<void> {
    await this.#store.delete([...this.pieces.map((piece) => piece.name), ...this.stateNames]);
  }

  async #put(chunks: Chunks, onBytes?: (doneBytes: number) => void): Promise<StoredPiece> {
    const name = newStoredName();
    const options = { signal: this.#context.signal, onBytes };
    const { lengthBytes } = await this.#store.put(name, toAsync(chunks), options);
    return { name, lengthBytes };
  }

  async #save(state?: Uint8Array): Promise<void> {
    const before = this.#state;
    if (state !== undefined) this.#state = await this.#put([state]);
    const pieces = this.pieces.map(toJson);
    await this.#context.saveCheckpoint({ pieces, ...(this.#state && { state: toJson(this.#state) }) });
    if (before !== undefined && before !== this.#state) await this.#store.delete([before.name]);
  }

  async #readState(piece: StoredPiece): Promise<Uint8Array> {
    const source = await this.#store.open([piece]);
    try {
      const bytes = new Uint8Array(piece.lengthBytes);
      await source.read(0, bytes);
      return bytes;
    } finally {
      await source.close();
    }
  }
}

type Chunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

function toJson({ name, lengthBytes }: StoredPiece): { name: string; lengthBytes: number } {
  return { name, lengthBytes };
}

async function* readRange(
  source: ByteSource,
  from: number,
  to: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = from; at < to; at += READ_BYTES) {
    const bytes = new Uint8Array(Math.min(READ_BYTES, to - at));
    await source.read(at, bytes, signal);
    yield bytes;
  }
}

async function* toAsync(chunks: Chunks): AsyncGenerator<Uint8Array, void, undefined> {
  yield* chunks;
}
