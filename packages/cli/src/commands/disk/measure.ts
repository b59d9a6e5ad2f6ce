import { requireSizeFor } from '@gantry/disk';
import type { Context } from '../../context.ts';
import { exactSizeText } from '../../output/quantities.ts';
import { type ConsumerOption, chosenTarget, consumerOf } from './consumer.ts';
import { ImageFiles, type ImageFilesOptions, selectedBy } from './image-files.ts';
import { plannedLength, planTargetFiles, type TargetOptions } from './plan.ts';

interface MeasureOptions extends ImageFilesOptions, TargetOptions, ConsumerOption {
  readonly from?: string;
  readonly to?: string;
}

export async function run(
  context: Context,
  [source]: readonly [string],
  asked: MeasureOptions,
): Promise<undefined> {
  const consumer = consumerOf(asked);
  const { format, options } = chosenTarget(consumer, asked, undefined);
  const files = new ImageFiles(asked, context.signal);
  try {
    const { disk } = await files.open(source, { ...selectedBy(asked), inAnyOrder: true });
    const { virtualSizeBytes } = disk;
    if (consumer !== undefined) requireSizeFor(consumer, virtualSizeBytes);
    const { requiredBytes, exact } = plannedLength(await planTargetFiles(context, disk, format, options));
    const record = { source, format, virtualSizeBytes, requiredBytes, exact };
    await context.output.record(record, [
      `virtual size: ${exactSizeText(virtualSizeBytes)}`,
      `${format}: ${exact ? '' : 'at most '}${exactSizeText(requiredBytes)}`,
    ]);
  } finally {
    await files.close();
  }
}
