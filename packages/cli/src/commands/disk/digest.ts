import { diskDigest } from '@gantry/disk';
import type { Context } from '../../context.ts';
import { printable } from '../../output/printable.ts';
import { ImageFiles, type ImageFilesOptions, selectedBy } from './image-files.ts';

export async function run(
  context: Context,
  [file]: readonly [string],
  options: ImageFilesOptions & { readonly from?: string },
): Promise<undefined> {
  const files = new ImageFiles(options, context.signal);
  try {
    const { disk } = await files.open(file, selectedBy(options));
    const { signal, progress } = context;
    const digest = await diskDigest(disk, { signal, onProgress: progress.step });
    await files.requireUnchanged();
    progress.end();
    const { virtualSizeBytes } = disk;
    const line = `${digest}  ${virtualSizeBytes}  ${printable(file)}`;
    await context.output.record({ diskDigest: digest, virtualSizeBytes, file }, [line]);
  } finally {
    await files.close();
  }
}
