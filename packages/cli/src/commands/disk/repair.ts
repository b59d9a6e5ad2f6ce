import {
  type ByteSource,
  compareDisks,
  convert,
  type Disk,
  denyReferences,
  type Format,
  fileSink,
  type OpenOptions,
  openDisk,
  patchFile,
  type RepairPlan,
  repairedSource,
} from '@gantry/disk';
import type { Context } from '../../context.ts';
import { EXIT, type ExitCode } from '../../errors/codes.ts';
import { CommandError } from '../../errors/command-error.ts';
import { isImageError } from '../../errors/describe.ts';
import { printable } from '../../output/printable.ts';
import { targetPath } from '../../output/target-file.ts';
import type { ImageFiles } from './image-files.ts';

export interface RepairOptions {
  /** File to write the repaired image to. */
  readonly repair?: string;
  readonly repairInPlace?: boolean;
}

interface DamagedImage {
  readonly file: string;
  readonly source: ByteSource;
  readonly format: Format;
  readonly open: OpenOptions;
}

/**
 * Repairs what is certain: into a copy, or in the file itself. The file itself is changed only when nothing
 * remains, the result is sound, and the disk in it reads as it did.
 */
export async function repair(
  context: Context,
  files: ImageFiles,
  image: DamagedImage,
  options: RepairOptions,
): Promise<ExitCode> {
  const { file, source, format, open } = image;
  if (format.repair === undefined || format.check === undefined) {
    throw new CommandError('IMAGE_UNSUPPORTED', `${format.title} is not repaired`, {
      where: file,
      hint: 'convert it to a new image; what can be read is in it then',
    });
  }
  const plan = await format.repair(source, open);
  const repaired = repairedSource(source, plan);
  const after = await format.check(repaired, open);
  const isSound = plan.remaining.length === 0 && after.corruptionCount === 0;
  const target = options.repair;
  const isNeeded = plan.actions.length > 0;
  if (isNeeded && target !== undefined) await writeCopy(context, files, repaired, target);
  if (isNeeded && target === undefined) await changeFile(context, files, image, plan, isSound);
  const written = isNeeded ? (target ?? file) : null;
  const { actions, remaining } = plan;
  const record = { file, format: format.name, written, actions, remaining, isSound };
  await context.output.record(record, [
    ...actions.map((action) => `repaired: ${printable(action)}`),
    ...remaining.map((finding) => `remains: ${printable(finding)}`),
    written === null ? `${format.name}: ${idleText(remaining)}` : `wrote ${printable(written)}`,
  ]);
  return isSound && after.leakCount === 0 ? EXIT.ok : EXIT.findings;
}

function idleText(remaining: readonly string[]): string {
  return remaining.length === 0 ? 'nothing to repair' : 'nothing of it can be repaired for certain';
}

async function writeCopy(
  context: Context,
  files: ImageFiles,
  repaired: ByteSource,
  target: string,
): Promise<void> {
  const { signal, progress } = context;
  const path = await targetPath(target, files.localFiles);
  const sink = await fileSink(path, { inspect: () => files.requireUnchanged() });
  const bytes = await openDisk(repaired, { format: 'raw', references: denyReferences });
  await convert(bytes, sink, { format: 'raw', signal, onProgress: progress.step });
  progress.end();
}

async function changeFile(
  context: Context,
  files: ImageFiles,
  { file, source, format, open }: DamagedImage,
  plan: RepairPlan,
  isSound: boolean,
): Promise<void> {
  if (!isSound) {
    throw new CommandError('IMAGE_MALFORMED', `${file}: not all of the damage can be repaired for certain`, {
      where: file,
      hint: 'the file was left as it was; --repair TARGET writes a copy with what can be repaired',
    });
  }
  await requireSameDisk(context, { file, source, format, open }, repairedSource(source, plan));
  await files.requireUnchanged();
  await patchFile(file, plan.patches, plan.lengthBytes);
}

/** Throws VERIFY_FAILED when the disk would read otherwise; where it cannot be read now, nothing is compared. */
async function requireSameDisk(
  context: Context,
  { file, source, format, open }: DamagedImage,
  repaired: ByteSource,
): Promise<void> {
  const { signal, progress } = context;
  const before = await openIfReadable(source, format, open);
  if (before === undefined) return;
  try {
    const after = await format.open(repaired, open);
    try {
      const { equal, sizesDiffer } = await compareDisks(before, after, { signal, onProgress: progress.step });
      progress.end();
      if (equal && !sizesDiffer) return;
    } finally {
      await after.close();
    }
  } finally {
    await before.close();
  }
  throw new CommandError('VERIFY_FAILED', `${file}: the repair would change what the guest sees`, {
    where: file,
    hint: 'the file was left as it was; compare a copy that --repair TARGET writes',
  });
}

async function openIfReadable(
  source: ByteSource,
  format: Format,
  open: OpenOptions,
): Promise<Disk | undefined> {
  try {
    return await format.open(source, open);
  } catch (error) {
    if (isImageError(error)) return undefined;
    throw error;
  }
}
