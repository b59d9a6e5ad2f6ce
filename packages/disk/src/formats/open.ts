import type { Disk } from '../disk/disk.ts';
import { ImageError } from '../errors.ts';
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
