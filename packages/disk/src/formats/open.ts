import { delegatedDisk } from '../disk/delegated-disk.ts';
import type { Disk } from '../disk/disk.ts';
import { ImageError } from '../errors.ts';
import { byteChunks } from '../io/byte-chunks.ts';
import type { ByteSource } from '../io/byte-source.ts';
import type { OpenOptions } from './format.ts';
import { probeFormat } from './probe.ts';
import { formatNamed } from './registry.ts';

export interface OpenDiskOptions extends OpenOptions {
  /** The format that the caller declares; then the bytes are never asked. Found by their mark if absent. */
  readonly format?: string | undefined;
}

/**
 * Opens an image as the disk that the guest sees. The source stays the caller's to close, after the disk.
 * Throws ImageError for the image's bytes, StoreError for the source.
 */
export async function openDisk(source: ByteSource, options: OpenDiskOptions): Promise<Disk> {
  const { spool, ...others } = options;
  if (source.sequential !== true || spool === undefined) return openHere(source, options);
  try {
    return await openHere(source, options);
  } catch (error) {
    if (!(error instanceof ImageError) || error.code !== 'IMAGE_NOT_SEQUENTIAL') throw error;
    const spooled = await spool(byteChunks(source, 0, options.signal));
    try {
      return closingToo(await openHere(spooled, others), spooled);
    } catch (failure) {
      await spooled.close();
      throw failure;
    }
  }
}

/** The same disk, which closes its source too. */
function closingToo(disk: Disk, source: ByteSource): Disk {
  return delegatedDisk(disk, {
    async close() {
      await disk.close();
      await source.close();
    },
  });
}

async function openHere(source: ByteSource, options: OpenDiskOptions): Promise<Disk> {
  const format =
    options.format === undefined ? await probeFormat(source, options.signal) : formatNamed(options.format);
  for (const selector of ['snapshot', 'member'] as const) {
    if (options[selector] === undefined || format.selectors?.includes(selector)) continue;
    throw new ImageError('IMAGE_OPTION', `${source.name}: ${format.title} has no ${selector} to choose`, {
      structure: selector,
      hint: `leave the ${selector} away`,
    });
  }
  return format.open(source, options);
}
