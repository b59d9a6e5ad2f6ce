import type { Context } from '../../context.ts';
import { recordLines } from '../../output/output.ts';
import { printable } from '../../output/printable.ts';
import { exactSizeText } from '../../output/quantities.ts';
import { ImageFiles, type ImageFilesOptions, selectedBy } from './image-files.ts';

export async function run(
  context: Context,
  [file]: readonly [string],
  options: ImageFilesOptions & { readonly from?: string },
): Promise<undefined> {
  const files = new ImageFiles(options, context.signal);
  try {
    const { source, disk } = await files.open(file, selectedBy(options));
    const { format, virtualSizeBytes, details, warnings } = disk;
    // Of a pipe it is known at its end.
    const fileSizeBytes = source.openEnded === true ? null : source.lengthBytes;
    const record = { file, format, virtualSizeBytes, fileSizeBytes, details, warnings };
    await context.output.record(record, [
      `file: ${printable(file)}`,
      `format: ${format}`,
      `virtual size: ${exactSizeText(virtualSizeBytes)}`,
      `file size: ${fileSizeBytes === null ? 'known at its end' : exactSizeText(fileSizeBytes)}`,
      ...recordLines(details),
      ...warnings.map((warning) => `warning: ${printable(warning)}`),
    ]);
  } finally {
    await files.close();
  }
}
