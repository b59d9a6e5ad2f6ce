import {
  type ByteSource,
  type CheckReport,
  type Disk,
  denyReferences,
  type Format,
  formatNamed,
  openDisk,
  probeFormat,
  StoreError,
} from '@gantry/disk';
import { type GuestReport, inspectGuest, type LaunchProposal, proposeLaunch } from '@gantry/machine';
import { z } from 'zod';
import { putImageShape } from '../db/repositories/image-shapes.ts';
import { completeImage, findImage, insertImage } from '../db/repositories/images.ts';
import { deleteJobSecret } from '../db/repositories/job-secrets.ts';
import type { ImageRow } from '../db/schema.ts';
import type { JobContext, JobHandler } from '../jobs/handler.ts';
import { type JsonValue, toJsonValue } from '../json.ts';
import type { SealedManifest } from '../vault/writer.ts';
import { DomainError } from './errors.ts';
import { newImageRow } from './image-imports.ts';
import { archivedFacts, shapeRows } from './image-metadata.ts';
import {
  type CopyParts,
  copyOfDisk,
  copyOfPeer,
  type ImportCheckpoint,
  importCheckpoint,
  requireListed,
  storeDisk,
} from './import-copy.ts';
import {
  type ImportSourceParts,
  importSource,
  type OpenImportSource,
  openImportSource,
} from './import-source.ts';
import type { LaunchMode, LaunchOptionsInput } from './launch-options.ts';
import { type LaunchRequest, launchOf, requireSize } from './launch-rules.ts';
import { requireSamplesEqual } from './samples.ts';
import { proposalJson } from './seen-guest.ts';

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

/** How long an import looks at what it has brought in: tables, a kernel, an initramfs or the hives of Windows. */
const INSPECTION = { readBytes: 512 * 1024 * 1024, timeMs: 60_000 };

export interface ImportJobParts extends ImportSourceParts, CopyParts {
  /** Larger disks are refused. */
  readonly imageSizeMaxBytes: number;
}

/** What of an import's file ends up in the image. */
interface Taken {
  readonly disk: Disk;
  readonly sealed: SealedManifest;
  readonly virtualSizeBytes: number;
}

/** Brings an image file into the vault: reads it once, reads it back, and only then shows the image. */
export function importHandler(parts: ImportJobParts): JobHandler {
  return async (context) => {
    const input = importInput.parse(context.input);
    await context.phase('open');
    await requireRow(parts, context, input);
    const opened = await openImportSource(parts, context.job, input.source, context.signal);
    try {
      return await importOpened(parts, context, input, opened);
    } finally {
      await opened.peer?.close();
      await opened.source.close();
    }
  };
}

/** Throws CONFLICT when the image was deleted meanwhile. One that was forgotten since it failed is written again. */
async function requireRow(
  { database }: ImportJobParts,
  context: JobContext,
  { imageId, name }: ImportInput,
): Promise<ImageRow> {
  const { job } = context;
  const row = await findImage(database.kysely, job.tenancyId, imageId);
  if (row !== undefined && row.deleted_at_ms !== null) throw wasDeleted(imageId);
  if (row !== undefined) return row;
  if (job.attempt > 1)
    context.log('warning', 'what was said of the image when it was asked for is forgotten');
  const { tenancyId, compartmentId = tenancyId } = job;
  const written = newImageRow({ id: imageId, tenancyId, compartmentId, name, jobId: job.id });
  await insertImage(database.kysely, written);
  return written;
}

async function importOpened(
  parts: ImportJobParts,
  context: JobContext,
  input: ImportInput,
  opened: OpenImportSource,
): Promise<JsonValue> {
  const before = savedCheckpoint(context);
  if (before !== undefined && before.version !== opened.version) {
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
    requireSize(disk.virtualSizeBytes, parts.imageSizeMaxBytes);
    // An archive that arrives may tell its launch options only at its end.
    if (!opened.isStream) await requireLaunchable(parts, context, input, disk);
    const taken = await takeDisk(parts, context, input, opened, { format, disk, before });
    return await finishImage(parts, context, input, taken);
  } finally {
    await disk.close();
  }
}

function savedCheckpoint(context: JobContext): ImportCheckpoint | undefined {
  if (context.checkpoint === undefined) return undefined;
  const saved = importCheckpoint.parse(context.checkpoint);
  return saved.isShared === true ? undefined : saved;
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

/** Gets the disk's content into the vault, moving as little as the source allows. */
async function takeDisk(
  parts: ImportJobParts,
  context: JobContext,
  { member, snapshot }: ImportInput,
  opened: OpenImportSource,
  { format, disk, before }: { format: Format; disk: Disk; before: ImportCheckpoint | undefined },
): Promise<Taken> {
  const point = { format: format.name, ...(opened.version !== undefined && { version: opened.version }) };
  const isWhole = member === undefined && snapshot === undefined;
  const { view, peer } = opened;
  if (view !== undefined && isWhole && view.spec.format === format.name) {
    return referTo(parts, context, view.manifestId, opened.source, disk, point);
  }
  if (peer !== undefined && isWhole) {
    const { virtualSizeBytes } = peer.head;
    requireSize(virtualSizeBytes, parts.imageSizeMaxBytes);
    const copy = copyOfPeer(context, peer);
    const sealed = await storeDisk(parts, context, { virtualSizeBytes, point, before, copy });
    try {
      requireListed(sealed, peer);
    } catch (error) {
      // Another attempt begins anew.
      await parts.vault.removeManifest(sealed.manifestId);
      throw error;
    }
    return { disk, sealed, virtualSizeBytes };
  }
  // What is compressed would be unpacked once more for it; its checksums are verified at the end.
  const isLookedAt = !opened.isStream && before === undefined && disk.details.wrapper === undefined;
  if (isLookedAt) await checkStructure(context, format, disk, opened.source);
  const { virtualSizeBytes } = disk;
  const copyDisk = copyOfDisk(context, disk);
  const sealed = await storeDisk(parts, context, {
    virtualSizeBytes,
    point,
    before,
    async copy(writer, save) {
      await copyDisk(writer, save);
      await disk.drain?.(context.signal);
      await opened.finish(context.signal);
    },
  });
  return { disk, sealed, virtualSizeBytes };
}

/** The file shows an image of this vault: the new one has the same content, and nothing is copied. */
async function referTo(
  { vault }: ImportJobParts,
  context: JobContext,
  manifestId: string,
  file: ByteSource,
  disk: Disk,
  point: Pick<ImportCheckpoint, 'format' | 'version'>,
): Promise<Taken> {
  const shown = await vault.openManifest(manifestId);
  try {
    // Keeps the content, whatever becomes of the object.
    await context.saveCheckpoint(toJsonValue({ ...point, manifestId, nextBlock: 0, isShared: true }));
    await context.phase('verify', shown.virtualSizeBytes);
    const { diskDigest, virtualSizeBytes } = shown;
    if (diskDigest === null || (await shown.listedDigest()) !== diskDigest) {
      throw new DomainError('VERIFY_FAILED', `${file.name} shows an image whose blocks have another digest`, {
        hint: 'check the vault with gantry vault check --data',
      });
    }
    const comparedBytes = await requireSamplesEqual(shown, file, point.format, context.signal);
    context.log(
      'info',
      `it shows an image of this service: nothing is copied, ${comparedBytes} bytes compared`,
    );
    return { disk, sealed: { manifestId, diskDigest, dataBytes: 0 }, virtualSizeBytes };
  } finally {
    await shown.close();
  }
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

async function requireLaunchable(
  parts: ImportJobParts,
  context: JobContext,
  input: ImportInput,
  disk: Disk,
): Promise<void> {
  launchOf(launchRequest(await requireRow(parts, context, input), disk, 'BIOS'));
}

function launchRequest(row: ImageRow, disk: Disk, firmware: LaunchRequest['firmware']): LaunchRequest {
  const facts = archivedFacts(disk.details);
  return {
    format: disk.format,
    launchMode: (row.launch_mode as LaunchMode | null) ?? undefined,
    launchOptions:
      row.launch_options_json === null
        ? undefined
        : (JSON.parse(row.launch_options_json) as LaunchOptionsInput),
    operatingSystem: row.operating_system === '' ? (facts?.guestOs?.name ?? '') : row.operating_system,
    archived: facts?.launchOptions,
    firmware,
  };
}

/** Lets the image be there together with the job's success, launched as the rules say. */
async function finishImage(
  parts: ImportJobParts,
  context: JobContext,
  input: ImportInput,
  { disk, sealed, virtualSizeBytes }: Taken,
): Promise<JsonValue> {
  const { imageId } = input;
  const { manifestId, diskDigest } = sealed;
  const { proposal, report } = await lookedAt(parts, context, manifestId);
  const facts = archivedFacts(disk.details, (warning) => context.log('warning', warning));
  const row = await requireRow(parts, context, input);
  const firmware = proposal.firmware === 'uefi' ? 'UEFI_64' : 'BIOS';
  const launch = launchOf(launchRequest(row, disk, firmware));
  context.log('info', `launched ${launch.launchMode}, firmware ${launch.firmware ?? 'not said'}`);
  const system = facts?.guestOs?.name === undefined ? proposal.guestOs : facts.guestOs;
  context.atSuccess(async (transaction) => {
    await deleteJobSecret(transaction, context.job.id);
    const now = await findImage(transaction, context.job.tenancyId, imageId);
    const isCompleted = await completeImage(transaction, imageId, {
      manifest_id: manifestId,
      source_format: disk.format,
      virtual_size_bytes: virtualSizeBytes,
      disk_digest: diskDigest,
      details_json: JSON.stringify(disk.details),
      // What somebody said meanwhile stays.
      operating_system: now?.operating_system || system.name || '',
      operating_system_version:
        now?.operating_system_version || (now?.operating_system ? '' : system.version) || '',
      launch_mode: launch.launchMode,
      launch_options_json: JSON.stringify(launch),
      proposal_json: proposalJson(proposal, report),
      capabilities_json:
        facts?.imageCapabilities === undefined ? null : JSON.stringify(facts.imageCapabilities),
    });
    if (!isCompleted) throw wasDeleted(imageId);
    for (const shape of shapeRows(imageId, facts?.shapeCompatibilities)) {
      await putImageShape(transaction, shape);
    }
  });
  return { imageId, diskDigest, virtualSizeBytes };
}

/** What is on the disk, and how it is best launched; why, and what stands against it, is told in the log. */
async function lookedAt(
  { vault }: ImportJobParts,
  context: JobContext,
  manifestId: string,
): Promise<{ readonly proposal: LaunchProposal; readonly report: GuestReport }> {
  const stored = await vault.openManifest(manifestId);
  try {
    const report = await inspectGuest(stored, { signal: context.signal, limits: INSPECTION });
    const proposal = proposeLaunch(report);
    for (const reason of proposal.reasons) context.log('info', reason);
    for (const warning of proposal.warnings) context.log('warning', warning);
    return { proposal, report };
  } finally {
    await stored.close();
  }
}

function wasDeleted(imageId: string): DomainError {
  return new DomainError('CONFLICT', `the image ${imageId} was deleted while it was imported`, {
    hint: 'import it again',
  });
}
