import { dirname, resolve } from 'node:path';
import { type Disk, ImageError, patchedDisk, requireSizeFor, workInCallingThread } from '@gantry/disk';
import { type ByteChange, pendingChanges, planClockRepair } from '@gantry/machine';
import type { Context } from '../../context.ts';
import { CommandError, usageError } from '../../errors/command-error.ts';
import { printable } from '../../output/printable.ts';
import { changeInPlace, rawFileOf, readUndo, withUndoFile } from './change-in-place.ts';
import { chosenTarget, consumerOf, formatOfEnding } from './consumer.ts';
import { type ConvertOptions, writeDisk } from './convert.ts';
import { ImageFiles, type OpenImage, selectedBy } from './image-files.ts';

interface SetClockOptions extends ConvertOptions {
  readonly partition?: number;
  readonly inPlace?: boolean;
  /** File to keep what takes the changes back. */
  readonly undo?: string;
  /** File of changes to make instead of planning some. */
  readonly applyUndo?: string;
}

/** Changes, and what they are made for. */
interface Wanted {
  readonly changes: readonly ByteChange[];
  readonly facts: { readonly where?: string; readonly controlSet?: string };
  readonly sentence: string;
}

export async function run(
  context: Context,
  [source, target]: readonly [string, string | undefined],
  options: SetClockOptions,
): Promise<undefined> {
  requireOneWay(target, options);
  const spoolFolder = target === undefined ? undefined : dirname(target);
  const files = new ImageFiles(options, context.signal, spoolFolder);
  try {
    const image = await files.open(source, { ...selectedBy(options), inAnyOrder: true });
    for (const warning of image.disk.warnings) context.progress.note(`warning: ${warning}`);
    const wanted = await wantedChanges(context, image.disk, options);
    const told = { file: source, ...wanted.facts, changes: wanted.changes.map(shownChange) };
    const lines = [wanted.sentence, ...wanted.changes.map(changeLine)];
    if (options.dryRun === true) await context.output.record(told, lines);
    else if (target === undefined) {
      const written = await inPlace(context, files, source, image, wanted.changes, options);
      await context.output.record({ ...told, ...written.record }, [...lines, ...written.lines]);
    } else {
      const written = await copy(context, files, image.disk, target, wanted.changes, options);
      await context.output.record({ ...told, ...written.record }, [...lines, ...written.lines]);
    }
  } finally {
    await files.close();
  }
}

function requireOneWay(target: string | undefined, options: SetClockOptions): void {
  const { inPlace: isInPlace = false, undo, applyUndo, partition, dryRun = false } = options;
  if (target === '-') throw usageError('the image is written to a file', 'name one, and convert that to -');
  if (target !== undefined && isInPlace)
    throw usageError('--in-place changes the image itself', 'leave it away, or the target');
  if (target === undefined && !isInPlace && !dryRun) {
    throw usageError(
      'nothing says where the changed image goes',
      'name a target, or say --in-place, or --dry-run to see the changes',
    );
  }
  if (target !== undefined && undo !== undefined && resolve(target) === resolve(undo))
    throw usageError('--undo and the target are one file', 'name another for one of them');
  if (applyUndo !== undefined && (undo ?? partition) !== undefined)
    throw usageError('--apply-undo goes without --undo and --partition');
  if (isInPlace && !dryRun && undo === undefined && applyUndo === undefined) {
    throw usageError(
      '--in-place needs --undo FILE',
      'it takes the changes back, also after an end in the middle of them',
    );
  }
}

async function wantedChanges(context: Context, disk: Disk, options: SetClockOptions): Promise<Wanted> {
  const { signal } = context;
  const { applyUndo, partition } = options;
  if (applyUndo !== undefined) {
    const undo = await readUndo(applyUndo);
    const changes = await pendingChanges(disk, undo, { partly: true, signal });
    const sentence =
      changes.length === 0
        ? 'nothing to take back: the disk is as it was before'
        : 'the disk becomes as it was before';
    return { changes, facts: {}, sentence };
  }
  const { where, controlSet, changes } = await planned(disk, partition, signal);
  const place = `Windows on ${where} (${controlSet})`;
  const sentence =
    changes.length === 0
      ? `${place} takes the hardware clock for UTC already`
      : `${place} will take the hardware clock for UTC`;
  return { changes, facts: { where, controlSet }, sentence };
}

async function planned(disk: Disk, partition: number | undefined, signal: AbortSignal) {
  try {
    return await planClockRepair(disk, { partition, signal });
  } catch (error) {
    if (!(error instanceof ImageError) || error.code !== 'IMAGE_AMBIGUOUS') throw error;
    throw new CommandError(error.code, error.message, {
      hint: 'choose one with --partition NUMBER',
      cause: error,
    });
  }
}

/** Writes the whole disk, changed or not: what is named as the target is there then. */
async function copy(
  context: Context,
  files: ImageFiles,
  disk: Disk,
  target: string,
  changes: readonly ByteChange[],
  asked: SetClockOptions,
) {
  workInCallingThread();
  const consumer = consumerOf(asked);
  const { format, options } = chosenTarget(consumer, asked, formatOfEnding(target));
  if (consumer !== undefined) requireSizeFor(consumer, disk.virtualSizeBytes);
  const undo = changes.length > 0 ? asked.undo : undefined;
  const changed = patchedDisk(
    disk,
    changes.map(({ offsetBytes, after }) => ({ offsetBytes, bytes: after })),
  );
  return withUndoFile(undo, disk.virtualSizeBytes, changes, () =>
    writeDisk(context, files, changed, target, { format, options, consumer }),
  );
}

async function inPlace(
  context: Context,
  files: ImageFiles,
  file: string,
  image: OpenImage,
  changes: readonly ByteChange[],
  { undo }: SetClockOptions,
) {
  if (changes.length === 0) return { record: { written: null }, lines: [] };
  const path = await rawFileOf(file, image, files.localFiles, changes);
  const { disk } = image;
  await withUndoFile(undo, disk.virtualSizeBytes, changes, async () => {
    await files.requireFilesUnchanged();
    context.signal.throwIfAborted();
  });
  await changeInPlace(path, disk.virtualSizeBytes, changes);
  const back = undo === undefined ? [] : [`${printable(undo)} takes it back: --apply-undo`];
  return { record: { written: file }, lines: [`changed ${printable(file)}`, ...back] };
}

function shownChange({ offsetBytes, before, after, what }: ByteChange) {
  return { offsetBytes, lengthBytes: before.length, before: before.toHex(), after: after.toHex(), what };
}

function changeLine({ offsetBytes, before, what }: ByteChange): string {
  return `change: ${before.length} bytes at ${offsetBytes}: ${printable(what)}`;
}
