import {
  BufferPool,
  type ByteSource,
  type DataRun,
  DIGEST_BLOCK_BYTES,
  type Disk,
  dataRuns,
  mapOrdered,
  readZeroExtended,
} from '@gantry/disk';
import { z } from 'zod';
import type { Database } from '../db/database.ts';
import type { JobContext } from '../jobs/handler.ts';
import { goesOn } from '../jobs/job-error.ts';
import { toJsonValue } from '../json.ts';
import { findManifest } from '../vault/manifests.ts';
import type { Vault } from '../vault/vault.ts';
import type { HashedBlock, SealedManifest, VaultWriter } from '../vault/writer.ts';
import { DomainError } from './errors.ts';
import { readBlockList } from './image-blocks.ts';
import type { PeerImage } from './peer-image.ts';

/** Where an import goes on. */
export const importCheckpoint = z.object({
  manifestId: z.string(),
  nextBlock: z.number().int(),
  format: z.string(),
  version: z.string().optional(),
  /** The manifest is another image's: nothing is written to it. */
  isShared: z.boolean().optional(),
});
export type ImportCheckpoint = z.infer<typeof importCheckpoint>;

export interface CopyParts {
  readonly database: Database;
  readonly vault: Vault;
}

/** Gets all data of a disk into a writer; calls `save` now and then. */
type Copy = (writer: VaultWriter, save: () => Promise<void>) => Promise<void>;

/** Bytes that are read at once, and how many such reads are under way. */
const RUN_BYTES: number = 4 * DIGEST_BLOCK_BYTES;
const RUNS_AT_ONCE = 6;
/** A checkpoint is made while the next part is read: a kill costs at most two of these, 64 MiB. */
const CHECKPOINT_BYTES: number = 32 * 1024 * 1024;

export interface CopyRequest {
  readonly virtualSizeBytes: number;
  /** What the checkpoints say besides. */
  readonly point: Pick<ImportCheckpoint, 'format' | 'version'>;
  readonly before: ImportCheckpoint | undefined;
  readonly copy: Copy;
}

/** Copies a disk into the vault and reads it back; gives the sealed manifest. */
export async function storeDisk(
  { vault, database }: CopyParts,
  context: JobContext,
  { virtualSizeBytes, point, before, copy }: CopyRequest,
): Promise<SealedManifest> {
  const known = before === undefined ? undefined : await findManifest(database.kysely, before.manifestId);
  if (known?.state === 'sealed' && known.disk_digest !== null) {
    return { manifestId: known.id, diskDigest: known.disk_digest, dataBytes: known.data_bytes };
  }
  const writer =
    before !== undefined && known !== undefined
      ? await vault.resumeManifest(before)
      : await vault.beginManifest(virtualSizeBytes);
  const save = async () => context.saveCheckpoint(toJsonValue({ ...point, ...(await writer.checkpoint()) }));
  try {
    await copy(writer, save);
    await save();
    const { newBlocks, storedBytes, knownBlocks } = writer.counts;
    context.log('info', `${newBlocks} new blocks in ${storedBytes} bytes, ${knownBlocks} known`);
    return await writer.seal(await readBack(context, vault, writer));
  } catch (error) {
    // What may pass goes on from the checkpoint; what is refused leaves nothing behind.
    if (goesOn(error, context.signal)) await writer.close();
    else await writer.abandon();
    throw error;
  }
}

/** Reads the disk's data, run by run. */
export function copyOfDisk(context: JobContext, disk: Disk): Copy {
  return async (writer, save) => {
    const { signal } = context;
    const fromBytes = Math.min(writer.nextBlock * DIGEST_BLOCK_BYTES, disk.virtualSizeBytes);
    await context.phase('copy', disk.virtualSizeBytes, fromBytes);
    const onProgress = ({ doneBytes }: { doneBytes: number }) => context.progress(doneBytes);
    const options = { signal, fromBytes, phase: 'copy', onProgress };
    const runs = dataRuns(disk, DIGEST_BLOCK_BYTES, RUN_BYTES, options);
    const read = (run: DataRun, into: Uint8Array) => readZeroExtended(disk, run.offsetBytes, into, signal);
    await putRuns(writer, save, runs, read, signal);
  };
}

/**
 * Asks the other service only for blocks that the vault lacks. Throws STORE_CHANGED through its source when the
 * image there changes meanwhile; what arrives is hashed as any import is, and has to have the digest of the list.
 */
export function copyOfPeer(context: JobContext, { head, list, disk }: PeerImage): Copy {
  return async (writer, save) => {
    const { signal } = context;
    const { virtualSizeBytes } = head;
    const fromBytes = Math.min(writer.nextBlock * DIGEST_BLOCK_BYTES, virtualSizeBytes);
    await context.phase('copy', virtualSizeBytes, fromBytes);
    let fetched = 0;
    const read = (run: DataRun, into: Uint8Array) => readPadded(disk, run.offsetBytes, into, signal);
    for await (const blocks of readBlockList(list, head, writer.nextBlock, signal)) {
      const missing = await writer.putKnown(blocks, signal);
      fetched += missing.length;
      const runs = toAsync(blockRuns(missing));
      await putRuns(writer, save, runs, read, signal);
      const last = blocks.at(-1);
      if (last !== undefined) writer.skipTo(last.block + 1);
      context.progress(Math.min(virtualSizeBytes, writer.nextBlock * DIGEST_BLOCK_BYTES));
    }
    const known = head.blockCount - fetched;
    context.log('info', `of ${head.blockCount} blocks ${known} were here, ${fetched} were fetched`);
  };
}

/** Throws VERIFY_FAILED when what arrived is not what the other service listed. */
export function requireListed(sealed: SealedManifest, { head }: PeerImage): void {
  if (sealed.diskDigest === head.diskDigest) return;
  throw new DomainError(
    'VERIFY_FAILED',
    `what arrived has the digest ${sealed.diskDigest}, not ${head.diskDigest}`,
    {
      hint: 'check the vault of the other service with gantry vault check --data',
    },
  );
}

async function putRuns(
  writer: VaultWriter,
  save: () => Promise<void>,
  runs: AsyncIterable<DataRun>,
  read: (run: DataRun, into: Uint8Array) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const pool = new BufferPool(RUN_BYTES);
  const readRun = async (run: DataRun) => {
    const buffer = pool.take();
    await read(run, buffer.subarray(0, run.lengthBytes));
    return { run, buffer };
  };
  const startSaving = () => {
    const saved = save();
    // A failure is seen when its turn comes; until then it is no unhandled rejection.
    saved.catch(() => {});
    return saved;
  };
  let saving = startSaving();
  let sinceSaved = 0;
  try {
    for await (const { run, buffer } of mapOrdered(runs, RUNS_AT_ONCE, readRun)) {
      for (let at = 0; at < run.lengthBytes; at += DIGEST_BLOCK_BYTES) {
        const block = (run.offsetBytes + at) / DIGEST_BLOCK_BYTES;
        await writer.put(block, buffer.subarray(at, at + DIGEST_BLOCK_BYTES), signal);
      }
      pool.give(buffer);
      sinceSaved += run.lengthBytes;
      if (sinceSaved < CHECKPOINT_BYTES) continue;
      await saving;
      saving = startSaving();
      sinceSaved = 0;
    }
  } finally {
    await saving.catch(() => {});
  }
  await saving;
}

/** Neighbouring blocks together, as many as are read at once. */
function* blockRuns(blocks: readonly HashedBlock[]): Generator<DataRun, void, undefined> {
  let run: DataRun | undefined;
  for (const { block } of blocks) {
    const offsetBytes = block * DIGEST_BLOCK_BYTES;
    const isNext = run !== undefined && run.offsetBytes + run.lengthBytes === offsetBytes;
    if (run !== undefined && isNext && run.lengthBytes < RUN_BYTES) {
      run = { ...run, lengthBytes: run.lengthBytes + DIGEST_BLOCK_BYTES };
      continue;
    }
    if (run !== undefined) yield run;
    run = { offsetBytes, lengthBytes: DIGEST_BLOCK_BYTES };
  }
  if (run !== undefined) yield run;
}

async function* toAsync<Item>(items: Iterable<Item>): AsyncGenerator<Item, void, undefined> {
  yield* items;
}

/** What lies behind the end is zeros. */
async function readPadded(
  source: ByteSource,
  offset: number,
  into: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  const lengthBytes = Math.max(0, Math.min(into.length, source.lengthBytes - offset));
  await source.read(offset, into.subarray(0, lengthBytes), signal);
  into.fill(0, lengthBytes);
}

/** The digest of what the vault holds now, every block read, decompressed and hashed. */
async function readBack(context: JobContext, vault: Vault, writer: VaultWriter): Promise<string> {
  const stored = await vault.openManifest(writer.manifestId);
  try {
    await context.phase('verify', stored.virtualSizeBytes);
    const onProgress = ({ doneBytes }: { doneBytes: number }) => context.progress(doneBytes);
    return await stored.verify({ signal: context.signal, onProgress });
  } finally {
    await stored.close();
  }
}
