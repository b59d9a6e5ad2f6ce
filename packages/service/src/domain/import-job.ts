import {
  BufferPool,
  type ByteSource,
  type CheckReport,
  type DataRun,
  DIGEST_BLOCK_BYTES,
  type Disk,
  dataRuns,
  denyReferences,
  type Format,
  formatNamed,
  mapOrdered,
  openDisk,
  probeFormat,
  readZeroExtended,
  StoreError,
} from '@gantry/disk';
import { z } from 'zod';
import type { Database } from '../db/database.ts';
import { insertImage } from '../db/repositories/images.ts';
import { deleteJobSecret } from '../db/repositories/job-secrets.ts';
import type { JobContext, JobHandler } from '../jobs/handler.ts';
import { goesOn } from '../jobs/job-error.ts';
import type { JsonValue } from '../json.ts';
import { findManifest } from '../vault/manifests.ts';
import type { Vault } from '../vault/vault.ts';
import type { SealedManifest, VaultWriter } from '../vault/writer.ts';
import { DomainError } from './errors.ts';
import {
  type ImportSourceParts,
  importSource,
  type OpenImportSource,
  openImportSource,
} from './import-source.ts';

export const importInput = z.object({
  imageId: z.string(),
  name: z.string(),
  /** As declared; found by its mark when absent. */
  format: z.string().optional(),
  /** The disk of an archive that holds several. */
  member: z.string().optional(),
  /** The internal snapshot to take in place of the present state. */
  snapshot: z.string().optional(),
  source: importSource,
});
export type ImportInput = z.infer<typeof importInput>;

const importCheckpoint = z.object({
  manifestId: z.string(),
  nextBlock: z.number().int(),
  format: z.string(),
  version: z.string().optional(),
});
type ImportCheckpoint = z.infer<typeof importCheckpoint>;

export interface ImportJobParts extends ImportSourceParts {
  readonly database: Database;
  readonly vault: Vault;
}

/** Bytes that are read at once, and how many such reads are under way. */
const RUN_BYTES: number = 4 * DIGEST_BLOCK_BYTES;
const RUNS_AT_ONCE = 6;
/** A checkpoint is made while the next part is read: a kill costs at most two of these, 64 MiB. */
const CHECKPOINT_BYTES: number = 32 * 1024 * 1024;

/** Brings an image file into the vault: reads it once, reads it back, and only then shows the image. */
export function importHandler(parts: ImportJobParts): JobHandler {
  return async (context) => {
    const input = importInput.parse(context.input);
    await context.phase('open');
    const opened = await openImportSource(parts, context.job, input.source, context.signal);
    try {
      return await importOpened(parts, context, input, opened);
    } finally {
      await opened.source.close();
    }
  };
}

async function importOpened(
  parts: ImportJobParts,
  context: JobContext,
  input: ImportInput,
  opened: OpenImportSource,
): Promise<JsonValue> {
  const before = savedCheckpoint(context);
  if (before?.version !== opened.version && before !== undefined) {
    await parts.vault.removeManifest(before.manifestId);
    throw new StoreError('STORE_CHANGED', `${opened.source.name} was changed since the import began`, {
      where: opened.source.name,
      hint: 'import it again',
    });
  }
  const format = await sourceFormat(input, opened, before, context.signal);
  const disk = await openDisk(opened.source, {
    references: denyReferences,
    format: format.name,
    member: input.member,
    snapshot: input.snapshot,
    signal: context.signal,
  });
  try {
    context.log('info', `${format.title} of ${disk.virtualSizeBytes} bytes`);
    for (const warning of disk.warnings) context.log('warning', warning);
    // What is compressed would be unpacked once more for it; its checksums are verified at the end.
    const isLookedAt = !opened.isStream && before === undefined && disk.details.wrapper === undefined;
    if (isLookedAt) await checkStructure(context, format, disk, opened.source);
    const sealed = await store(parts, context, format, disk, opened, before);
    context.atSuccess(async (transaction) => {
      await deleteJobSecret(transaction, context.job.id);
      await insertImage(transaction, {
        id: input.imageId,
        tenancy_id: context.job.tenancyId,
        compartment_id: context.job.tenancyId,
        name: input.name,
        kind: 'custom',
        base_image_id: null,
        job_id: context.job.id,
        source_json: null,
        operating_system: '',
        operating_system_version: '',
        launch_mode: null,
        launch_options_json: null,
        capabilities_json: null,
        freeform_tags_json: '{}',
        defined_tags_json: '{}',
        version: 1,
        deleted_at_ms: null,
        source_format: disk.format,
        virtual_size_bytes: disk.virtualSizeBytes,
        disk_digest: sealed.diskDigest,
        manifest_id: sealed.manifestId,
        details_json: JSON.stringify(disk.details),
        created_at_ms: Date.now(),
      });
    });
    return { imageId: input.imageId, diskDigest: sealed.diskDigest, virtualSizeBytes: disk.virtualSizeBytes };
  } finally {
    await disk.close();
  }
}

function savedCheckpoint(context: JobContext): ImportCheckpoint | undefined {
  return context.checkpoint === undefined ? undefined : importCheckpoint.parse(context.checkpoint);
}

/** A declared format, or the one found first, is never asked for again. */
async function sourceFormat(
  input: ImportInput,
  opened: OpenImportSource,
  before: ImportCheckpoint | undefined,
  signal: AbortSignal,
): Promise<Format> {
  const declared = before?.format ?? input.format;
  if (declared !== undefined) return formatNamed(declared);
  if (!opened.isStream) return probeFormat(opened.source, signal);
  throw new DomainError('INVALID', 'an image that is streamed in needs its format declared');
}

/**
 * Walks all tables before a byte of data is stored: a damaged or truncated image ends here. What a reader can
 * live with, such as wrong refcounts, is told in the log.
 */
async function checkStructure(
  context: JobContext,
  format: Format,
  disk: Disk,
  source: ByteSource,
): Promise<void> {
  await context.phase('check', disk.virtualSizeBytes);
  for await (const extent of disk.extents(0, disk.virtualSizeBytes, context.signal)) {
    context.progress(extent.offsetBytes + extent.lengthBytes);
  }
  const report = await format.check?.(source, { references: denyReferences, signal: context.signal });
  if (report !== undefined && report.corruptionCount + report.leakCount > 0)
    context.log('warning', told(report));
}

function told(report: CheckReport): string {
  const first = report.findings.find((finding) => finding.severity === 'corruption') ?? report.findings[0];
  const counts = `${report.corruptionCount} inconsistencies and ${report.leakCount} leaks`;
  return `the image has ${counts} in its tables that do not keep it from being read; the first: ${first?.structure}: ${first?.message}`;
}

/** Copies the disk into the vault and reads it back; gives the sealed manifest. */
async function store(
  parts: ImportJobParts,
  context: JobContext,
  format: Format,
  disk: Disk,
  opened: OpenImportSource,
  before: ImportCheckpoint | undefined,
): Promise<SealedManifest> {
  const { vault, database } = parts;
  const known = before === undefined ? undefined : await findManifest(database.kysely, before.manifestId);
  if (known?.state === 'sealed' && known.disk_digest !== null) {
    return { manifestId: known.id, diskDigest: known.disk_digest, dataBytes: known.data_bytes };
  }
  const writer =
    before !== undefined && known !== undefined
      ? await vault.resumeManifest(before)
      : await vault.beginManifest(disk.virtualSizeBytes);
  const save = async () => {
    const point = {
      format: format.name,
      ...(opened.version === undefined ? {} : { version: opened.version }),
    };
    await context.saveCheckpoint({ ...point, ...(await writer.checkpoint()) });
  };
  try {
    await copy(context, disk, writer, save);
    await disk.drain?.(context.signal);
    await opened.finish(context.signal);
    await save();
    const { zeroBlocks: _, ...counts } = writer.counts;
    context.log(
      'info',
      `${counts.newBlocks} new blocks in ${counts.storedBytes} bytes, ${counts.knownBlocks} known`,
    );
    return await writer.seal(await readBack(context, vault, writer));
  } catch (error) {
    // What may pass goes on from the checkpoint; what is refused leaves nothing behind.
    if (goesOn(error, context.signal)) await writer.close();
    else await writer.abandon();
    throw error;
  }
}

async function copy(
  context: JobContext,
  disk: Disk,
  writer: VaultWriter,
  save: () => Promise<void>,
): Promise<void> {
  const { signal } = context;
  const fromBytes = Math.min(writer.nextBlock * DIGEST_BLOCK_BYTES, disk.virtualSizeBytes);
  await context.phase('copy', disk.virtualSizeBytes, fromBytes);
  const onProgress = ({ doneBytes }: { doneBytes: number }) => context.progress(doneBytes);
  const runs = dataRuns(disk, DIGEST_BLOCK_BYTES, RUN_BYTES, {
    signal,
    fromBytes,
    phase: 'copy',
    onProgress,
  });
  const pool = new BufferPool(RUN_BYTES);
  const read = async (run: DataRun) => {
    const buffer = pool.take();
    await readZeroExtended(disk, run.offsetBytes, buffer.subarray(0, run.lengthBytes), signal);
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
    for await (const { run, buffer } of mapOrdered(runs, RUNS_AT_ONCE, read)) {
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
