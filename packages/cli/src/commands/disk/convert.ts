import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import {
  type Consumer,
  convertFiles,
  type Disk,
  fileSink,
  requireSizeFor,
  startThreads,
  workInCallingThread,
} from '@gantry/disk';
import type { Context } from '../../context.ts';
import { requireNoTerminal, streamPlan } from '../../output/byte-stream.ts';
import { printable } from '../../output/printable.ts';
import { exactSizeText } from '../../output/quantities.ts';
import { targetPath } from '../../output/target-file.ts';
import type { Plain } from '../../output/yaml.ts';
import {
  type ConsumerOption,
  chosenTarget,
  consumerOf,
  formatOfEnding,
  requireWrittenFor,
} from './consumer.ts';
import { ImageFiles, type ImageFilesOptions, type OpenImage, selectedBy } from './image-files.ts';
import { planInOrder, plannedLength, planTargetFiles, type TargetOptions } from './plan.ts';
import { baseNameOf, plannedFiles, TargetFiles } from './target-files.ts';

export interface ConvertOptions extends ImageFilesOptions, TargetOptions, ConsumerOption {
  readonly from?: string;
  readonly to?: string;
  readonly dryRun?: boolean;
}

/** Of a local file, holes left out; 0 for what else there is. */
function storedBytes(source: string): number {
  try {
    return statSync(source).blocks * 512;
  } catch {
    return 0;
  }
}

/** One thread has converted less by the time that another one has started. */
const MUCH_BYTES = 16 * 1024 * 1024;

export async function run(
  context: Context,
  [source, target]: readonly [string, string],
  asked: ConvertOptions,
): Promise<undefined> {
  workInCallingThread();
  const consumer = consumerOf(asked);
  const { format, options } = chosenTarget(consumer, asked, formatOfEnding(target));
  if (options.dryRun !== true && storedBytes(source) >= MUCH_BYTES) startThreads();
  if (target === '-' && options.dryRun !== true) requireNoTerminal(process.stdout);
  // Beside the target, where there is room for it.
  const spoolFolder = target === '-' ? undefined : dirname(target);
  const files = new ImageFiles(options, context.signal, spoolFolder);
  try {
    // A plan that is shown or led elsewhere is made before the data is read again.
    const inAnyOrder = target === '-' || options.dryRun === true;
    const image = await files.open(source, { ...selectedBy(options), inAnyOrder });
    for (const warning of image.disk.warnings) context.progress.note(`warning: ${warning}`);
    if (consumer !== undefined) requireSizeFor(consumer, image.disk.virtualSizeBytes);
    if (options.dryRun === true) await showPlan(context, files, image, target, format, options);
    else if (target === '-') await writeOut(context, files, image, format, options);
    else {
      const { record, lines } = await writeDisk(context, files, image.disk, target, {
        format,
        options,
        consumer,
      });
      await context.output.record(record, lines);
    }
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
  const plan =
    target === '-'
      ? await planInOrder(context, disk, format, options)
      : await planTargetFiles(context, disk, format, options, baseNameOf(target));
  const { requiredBytes, exact } = plannedLength(plan);
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
  const planned =
    plan.kind === 'files'
      ? await plannedFiles(plan, target, files.localFiles)
      : [{ file: target, requiredBytes, exact }];
  await context.output.record(
    planned.length > 1 ? { ...record, files: planned.map((each) => ({ ...each })) } : record,
    [
      `would read ${printable(source.name)} as ${sourceFormat}: a disk of ${exactSizeText(virtualSizeBytes)}`,
      ...planned.map(
        (each) =>
          `would write ${printable(each.file)} as ${format}: ${each.exact ? '' : 'at most '}${exactSizeText(each.requiredBytes)}`,
      ),
    ],
  );
}

async function writeOut(
  context: Context,
  files: ImageFiles,
  { disk }: OpenImage,
  format: string,
  options: ConvertOptions,
): Promise<void> {
  const { signal, progress } = context;
  const plan = await planInOrder(context, disk, format, options);
  await streamPlan(plan, disk, process.stdout, { signal, onProgress: progress.step });
  // Too late to take the bytes back, but not to say that they are no disk of any one moment.
  await files.requireUnchanged();
}

/** What a disk is written as: see `chosenTarget`. */
export interface WrittenForm {
  readonly format: string;
  readonly options: TargetOptions;
  readonly consumer: Consumer | undefined;
}

/** Writes a disk of the open files to a target; what there is to say of it. */
export async function writeDisk(
  { signal, progress }: Context,
  files: ImageFiles,
  disk: Disk,
  target: string,
  { format, options, consumer }: WrittenForm,
): Promise<{ readonly record: { readonly [key: string]: Plain }; readonly lines: readonly string[] }> {
  const places = new TargetFiles(target, files.localFiles);
  const openSink = async (name: string) => {
    const { path, isFirst } = await places.place(name);
    const inspect = async (partial: string) => {
      await files.requireUnchanged();
      if (consumer !== undefined && isFirst)
        await requireWrittenFor(consumer, format, partial, signal, places.others);
    };
    return fileSink(path, { inspect });
  };
  const written = await convertFiles(disk, openSink, {
    format,
    options: options.option ?? {},
    compression: options.compress,
    seed: options.seed,
    baseName: baseNameOf(target),
    signal,
    onProgress: progress.step,
  });
  progress.end();
  const { virtualSizeBytes } = disk;
  const lengthBytes = written.reduce((sum, file) => sum + file.lengthBytes, 0);
  const record = { target, format, virtualSizeBytes, lengthBytes };
  const shown = written.map(({ name, lengthBytes: bytes }) => ({
    file: places.shown(name),
    lengthBytes: bytes,
  }));
  return {
    record: shown.length > 1 ? { ...record, files: shown } : record,
    lines: shown.map(
      (each) => `wrote ${printable(each.file)} as ${format}: ${exactSizeText(each.lengthBytes)}`,
    ),
  };
}
