import { denyReferences, diskDigest, fileSink, fileSource, openDisk } from '@gantry/disk';
import type { Image } from '../../client/api.ts';
import type { Context } from '../../context.ts';
import { CommandError } from '../../errors/command-error.ts';
import type { Form } from './form.ts';

/**
 * Writes a form of the image to a file, which has its name only when it was read back and has the image's digest.
 * Gives the file's length in bytes. Throws VERIFY_FAILED when it is another disk.
 */
export async function writeVerified(
  context: Context,
  image: Image,
  form: Form,
  { path, format }: { readonly path: string; readonly format: string },
): Promise<number> {
  let lengthBytes = 0;
  const inspect = async (written: string) => {
    lengthBytes = await requireDigest(context, written, format, image);
  };
  await form.write(await fileSink(path, { inspect }));
  return lengthBytes;
}

/** Reads the file back. Throws VERIFY_FAILED when it is not the image's disk; gives the file's length. */
async function requireDigest(context: Context, file: string, format: string, image: Image): Promise<number> {
  const { signal, progress } = context;
  const source = await fileSource(file);
  try {
    const disk = await openDisk(source, { format, references: denyReferences, signal });
    const digest = await diskDigest(disk, { signal, onProgress: progress.step });
    await disk.close();
    progress.end();
    if (digest === image.diskDigest) return source.lengthBytes;
    throw new CommandError('VERIFY_FAILED', `what arrived is not the disk of image ${image.id}`, {
      where: `${digest} instead of ${image.diskDigest}`,
      hint: 'run the same command again; if it fails again, run gantry vault check --data',
    });
  } finally {
    await source.close();
  }
}
