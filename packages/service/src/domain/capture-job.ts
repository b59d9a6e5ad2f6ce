import type { Disk } from '@gantry/disk';
import { StoreError } from '@gantry/disk';
import type { Capture } from '@gantry/machine';
import { z } from 'zod';
import type { Database } from '../db/database.ts';
import { completeImage } from '../db/repositories/images.ts';
import { findAnyInstance } from '../db/repositories/instances.ts';
import { attachedVolumes } from '../db/repositories/volumes.ts';
import type { JobContext, JobHandler } from '../jobs/handler.ts';
import { JobCanceled } from '../jobs/interruptions.ts';
import { goesOn } from '../jobs/job-error.ts';
import { type JsonValue, toJsonValue } from '../json.ts';
import type { Vault } from '../vault/vault.ts';
import { DomainError } from './errors.ts';
import { copyOfDisk, importCheckpoint, storeDisk } from './import-copy.ts';
import { noInstance } from './instance.ts';
import { defineMachine, type InstanceJobParts } from './instance-jobs.ts';

const captureInput = z.object({
  instanceId: z.string(),
  /** The first of them. */
  imageId: z.string(),
  images: z.array(
    z.object({
      imageId: z.string(),
      volumeId: z.string(),
      /** Of volumes that no guest has had: the image has it in common with them. */
      manifestId: z.string().optional(),
    }),
  ),
  manifestIds: z.array(z.string()),
  reboot: z.boolean(),
  graceMs: z.number(),
});
export type CaptureInput = z.infer<typeof captureInput>;

const captured = z.object({
  manifestId: z.string(),
  diskDigest: z.string(),
  virtualSizeBytes: z.number(),
});
const checkpoint = z.object({
  takenAtMs: z.number(),
  consistency: z.enum(['shutdown', 'agent', 'crash']),
  /** Disks that are in the vault, in the order of the images; then where the next one goes on. */
  done: z.array(captured),
  current: importCheckpoint.optional(),
  /** For the vault's collections: all of these. */
  manifestIds: z.array(z.string()),
});
type CapturedDisk = z.infer<typeof captured>;
type Checkpoint = z.infer<typeof checkpoint>;
type PointInTime = Pick<Checkpoint, 'takenAtMs' | 'consistency'>;

export interface CaptureJobParts extends InstanceJobParts {
  readonly database: Database;
  readonly vault: Vault;
}

/** Makes images of the disks of an instance as they were at one point in time. */
export function captureHandler(parts: CaptureJobParts): JobHandler {
  return async (context) => {
    const input = captureInput.parse(context.input);
    const shared = input.images.flatMap(({ manifestId }) => manifestId ?? []);
    return shared.length === input.images.length
      ? await shareDisks(parts, context, input, shared)
      : await captureDisks(parts, context, input);
  };
}

/** Checks that the blocks of the volumes are listed whole; the images have them in common with them. */
async function shareDisks(
  { vault }: CaptureJobParts,
  context: JobContext,
  input: CaptureInput,
  manifestIds: readonly string[],
): Promise<JsonValue> {
  await context.phase('verify');
  const disks: CapturedDisk[] = [];
  for (const manifestId of manifestIds) {
    const disk = await vault.openManifest(manifestId);
    try {
      const { diskDigest, virtualSizeBytes } = disk;
      if (diskDigest === null || (await disk.listedDigest()) !== diskDigest) {
        throw new DomainError('VERIFY_FAILED', 'the blocks of the volume have another digest', {
          hint: 'check the vault with gantry vault check --data',
        });
      }
      disks.push({ manifestId, diskDigest, virtualSizeBytes });
    } finally {
      await disk.close();
    }
  }
  context.log('info', 'the image has the blocks of the volume: nothing is copied');
  return completed(context, input, disks, undefined);
}

async function captureDisks(
  parts: CaptureJobParts,
  context: JobContext,
  input: CaptureInput,
): Promise<JsonValue> {
  const { driver, watch } = parts.machines.require();
  const { instanceId } = input;
  const before = context.checkpoint === undefined ? undefined : checkpoint.parse(context.checkpoint);
  if (context.signal.reason instanceof JobCanceled) {
    // Canceled while it waited: what an attempt before held is let go of.
    if ((await driver.list()).includes(instanceId)) await driver.releaseCapture(instanceId, context.job.id);
    context.signal.throwIfAborted();
  }
  await context.phase('capture');
  const row = await findAnyInstance(parts.database.kysely, instanceId);
  if (row === undefined || row.deleted_at_ms !== null) throw noInstance(instanceId);
  const disks = await indexesOf(parts, input);
  // A machine whose first start failed before it came to be known.
  if (!(await driver.list()).includes(instanceId)) await defineMachine(parts, row);
  const capture = await driver.capture(instanceId, {
    captureId: context.job.id,
    reboot: input.reboot,
    graceMs: input.graceMs,
    disks,
    signal: context.signal,
  });
  await watch.watch(instanceId);
  try {
    requireSame(capture, before);
    const stored = await storeDisks(parts, context, capture, before);
    context.afterSuccess(() => capture.release());
    return completed(context, input, stored, capture);
  } catch (error) {
    // For another attempt the driver keeps the point in time.
    if (!goesOn(error, context.signal)) await capture.release();
    throw error;
  }
}

/**
 * Positions of the volumes among the disks of the machine as it is now: others may have come and gone since a job that
 * is retried was asked for. Throws CONFLICT for a volume that is gone.
 */
async function indexesOf(
  { database }: CaptureJobParts,
  { instanceId, images }: CaptureInput,
): Promise<number[]> {
  const attached = await attachedVolumes(database.kysely, instanceId);
  return images.map(({ volumeId }) => {
    const index = attached.findIndex(({ volume }) => volume.id === volumeId);
    if (index >= 0) return index;
    throw new DomainError('CONFLICT', `the volume ${volumeId} is not attached to ${instanceId} any more`, {
      hint: 'make the image again',
    });
  });
}

/** Throws STORE_CHANGED when the driver has another point in time now than the one that was begun with. */
function requireSame({ takenAtMs }: Capture, before: PointInTime | undefined): void {
  if (before === undefined || before.takenAtMs === takenAtMs) return;
  throw new StoreError(
    'STORE_CHANGED',
    'the point in time that this image was begun of is gone: the machine ended meanwhile',
    { where: 'capture', hint: 'make the image again' },
  );
}

async function storeDisks(
  parts: CaptureJobParts,
  context: JobContext,
  capture: Capture,
  before: Checkpoint | undefined,
): Promise<CapturedDisk[]> {
  const { takenAtMs, consistency } = capture;
  const at = new Date(takenAtMs).toISOString();
  context.log('info', `the disks are as they were at ${at}, ${consistencyWords[consistency]}`);
  const done = [...(before?.done ?? [])];
  const save = (current: Checkpoint['current']) => {
    const ids = [...done.map(({ manifestId }) => manifestId), ...(current ? [current.manifestId] : [])];
    const saved: Checkpoint = { takenAtMs, consistency, done, current, manifestIds: ids };
    return context.saveCheckpoint(toJsonValue(saved));
  };
  if (before === undefined) await save(undefined);
  for (const { disk } of capture.disks.slice(done.length)) {
    const isFirst = done.length === before?.done.length;
    const current = isFirst ? before?.current : undefined;
    done.push(await storeOne(parts, checkpointed(context, save), disk, current));
    await save(undefined);
  }
  return done;
}

const consistencyWords: Readonly<Record<Capture['consistency'], string>> = {
  shutdown: 'shut down',
  agent: 'their file systems frozen',
  crash: 'as after a loss of power',
};

async function storeOne(
  parts: CaptureJobParts,
  context: JobContext,
  disk: Disk,
  before: Checkpoint['current'],
): Promise<CapturedDisk> {
  const { virtualSizeBytes } = disk;
  const copy = copyOfDisk(context, disk);
  const point = { format: 'volume' };
  const { manifestId, diskDigest } = await storeDisk(parts, context, {
    virtualSizeBytes,
    point,
    before,
    copy,
  });
  return { manifestId, diskDigest, virtualSizeBytes };
}

/** The job, whose checkpoints are part of a larger one. */
function checkpointed(
  context: JobContext,
  save: (current: Checkpoint['current']) => Promise<void>,
): JobContext {
  const { job, input, signal } = context;
  return {
    job,
    input,
    signal,
    checkpoint: context.checkpoint,
    phase: (...phase) => context.phase(...phase),
    progress: (doneBytes) => context.progress(doneBytes),
    log: (level, message) => context.log(level, message),
    saveCheckpoint: (current) => save(importCheckpoint.parse(current)),
    atSuccess: (write) => context.atSuccess(write),
    afterSuccess: (tidy) => context.afterSuccess(tidy),
  };
}

/** Lets the images be there together with the job's success. */
function completed(
  context: JobContext,
  { imageId, images }: CaptureInput,
  disks: readonly CapturedDisk[],
  point: PointInTime | undefined,
): JsonValue {
  context.atSuccess(async (transaction) => {
    for (const [at, { imageId: id }] of images.entries()) {
      const disk = disks[at];
      const isCompleted =
        disk !== undefined &&
        (await completeImage(transaction, id, {
          manifest_id: disk.manifestId,
          source_format: 'volume',
          virtual_size_bytes: disk.virtualSizeBytes,
          disk_digest: disk.diskDigest,
          ...(point !== undefined && {
            capture_id: context.job.id,
            captured_at_ms: point.takenAtMs,
            consistency: point.consistency,
          }),
        }));
      // Of several images some may be deleted meanwhile.
      if (!isCompleted && images.length === 1)
        throw new DomainError('CONFLICT', `the image ${id} was deleted meanwhile`);
    }
  });
  const [first] = disks;
  return {
    imageId,
    imageIds: images.map((image) => image.imageId),
    diskDigest: first?.diskDigest ?? null,
    virtualSizeBytes: first?.virtualSizeBytes ?? null,
    ...(point !== undefined && { takenAtMs: point.takenAtMs, consistency: point.consistency }),
  };
}
