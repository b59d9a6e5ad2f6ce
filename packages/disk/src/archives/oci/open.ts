import type { Disk } from '../../disk/disk.ts';
import type { OpenOptions } from '../../formats/format.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { containedDisk, openInnerImage } from '../inner-image.ts';
import { OciContents } from './contents.ts';

/**
 * Opens the disk of an `.oci` archive; the document is in its details, as `metadata`. Of an arriving archive it is
 * there when it stood before the disk, or when the disk was drained. Throws ImageError.
 */
export async function openOci(source: ByteSource, options: OpenOptions): Promise<Disk> {
  const { signal, snapshot } = options;
  const contents = new OciContents(source, options);
  const member = await contents.disk(signal);
  const inner = await openInnerImage(member.open(), ['qcow2'], { signal, snapshot });
  return containedDisk(inner, {
    format: 'oci',
    get details() {
      const { document } = contents;
      return { member: member.name, ...(document !== undefined && { metadata: document }) };
    },
    get warnings() {
      return contents.warnings;
    },
    async drain(signal) {
      await inner.drain?.(signal);
      await contents.toEnd(signal);
    },
  });
}
