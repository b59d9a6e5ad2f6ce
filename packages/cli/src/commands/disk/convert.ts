import { type Consumer, convert, fileSink, requireSizeFor, workInCallingThread } from '@gantry/disk';
import type { Context } from '../../context.ts';
import { requireNoTerminal, streamPlan } from '../../output/byte-stream.ts';
import { printable } from '../../output/printable.ts';
import { exactSizeText } from '../../output/quantities.ts';
import { targetPath } from '../../output/target-file.ts';
import {
  type ConsumerOption,
  chosenTarget,
  consumerOf,
  formatOfEnding,
  requireWrittenFor,
} from './consumer.ts';
import { ImageFiles, type ImageFilesOptions, type OpenImage } from './image-files.ts';
import { plannedLength, planTarget, type TargetOptions } from './plan.ts';

interface ConvertOptions extends ImageFilesOptions, TargetOptions, ConsumerOption {
  readonly from?: string;
  readonly to?: string;
  readonly dryRun?: boolean;
}

export async function run(
  context: Context,
  [source, target]: readonly [string, string],
  asked: ConvertOptions,
): Promise<undefined> {
  workInCallingThread();
  const consumer = consumerOf(asked);
  const { format, options } = chosenTarget(consumer, asked, formatOfEnding(target));
  if (target === '-' && options.dryRun !== true) requireNoTerminal(process.stdout);
  const files = new ImageFiles(options, context.signal);
  try {
    const image = await files.open(source, options.from);
    for (const warning of image.disk.warnings) context.progress.note(`warning: ${warning}`);
    if (consumer !== undefined) requireSizeFor(consumer, image.disk.virtualSizeBytes);
    if (options.dryRun === true) await showPlan(context, files, image, target, format, options);
    else if (target === '-') await writeOut(context, files, image, format, options);
    else await writeFile(context, files, image, target, format, options, consumer);
  } finally {
    await files.close();
  }
}

async function showPlan(
  context: Context,
  files: ImageFiles,
  { source, disk }: OpenImage,
  target: string,
  format: string,
  options: ConvertOptions,
): Promise<void> {
  if (target !== '-') await targetPath(target, files.localFiles);
  const { requiredBytes, exact } = plannedLength(await planTarget(context, disk, format, options));
  const { format: sourceFormat, virtualSizeBytes } = disk;
  const record = {
    source: source.name,
    sourceFormat,
    target,
    format,
    virtualSizeBytes,
    requiredBytes,
    exact,
  };
  await context.output.record(record, [
    `would read ${printable(source.name)} as ${sourceFormat}: a disk of ${exactSizeText(virtualSizeBytes)}`,
    `would write ${printable(target)} as ${format}: ${exact ? '' : 'at most '}${exactSizeText(requiredBytes)}`,
  ]);
}

async function writeOut(
  context: Context,
  files: ImageFiles,
  { disk }: OpenImage,
  format: string,
  options: ConvertOptions,
): Promise<void> {
  const { signal, progress } = context;
  const plan = await planTarget(context, disk, format, options);
  await streamPlan(plan, disk, process.stdout, { signal, onProgress: progress.step });
  // Too late to take the bytes back, but not to say that they are no disk of any one moment.
  await files.requireUnchanged();
}

async function writeFile(
  context: Context,
  files: ImageFiles,
  { disk }: OpenImage,
  target: string,
  format: string,
  options: ConvertOptions,
  consumer: Consumer | undefined,
): Promise<void> {
  const { signal, progress } = context;
  const path = await targetPath(target, files.localFiles);
  const inspect = async (partial: string) => {
    await files.requireUnchanged();
    if (consumer !== undefined) await requireWrittenFor(consumer, format, partial, signal);
  };
  const sink = await fileSink(path, { inspect });
  const lengthBytes = await convert(disk, sink, {
    format,
    options: options.option ?? {},
    compression: options.compress,
    seed: options.seed,
    signal,
    onProgress: progress.step,
  });
  progress.end();
  const { virtualSizeBytes } = disk;
  await context.output.record({ target, format, virtualSizeBytes, lengthBytes }, [
    `wrote ${printable(target)} as ${format}: ${exactSizeText(lengthBytes)}`,
  ]);
}
