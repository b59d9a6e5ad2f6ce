import type { Context } from '../../context.ts';
import { exactSizeText } from '../../output/quantities.ts';
import { ImageFiles, type ImageFilesOptions, requireFormatName } from './image-files.ts';
import { plannedLength, planTarget, type TargetOptions } from './plan.ts';

export async function run(
  context: Context,
  [source]: readonly [string],
  options: ImageFilesOptions & TargetOptions & { readonly from?: string; readonly to: string },
): Promise<undefined> {
  requireFormatName(options.to, '--to');
  const files = new ImageFiles(options, context.signal);
  try {
    const { disk } = await files.open(source, options.from);
    const { requiredBytes, exact } = plannedLength(await planTarget(context, disk, options.to, options));
    const { virtualSizeBytes } = disk;
    const record = { source, format: options.to, virtualSizeBytes, requiredBytes, exact };
    await context.output.record(record, [
      `virtual size: ${exactSizeText(virtualSizeBytes)}`,
      `${options.to}: ${exact ? '' : 'at most '}${exactSizeText(requiredBytes)}`,
    ]);
  } finally {
    await files.close();
  }
}
