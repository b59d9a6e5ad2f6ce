import type { Disk } from '../../disk/disk.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import type { Format, OpenOptions } from '../format.ts';
import { rawDisk } from '../raw/format.ts';
import { hasStandardId, readPrimaryVolume, requireStandardId } from './volume-descriptor.ts';

/**
 * The image of a CD, a DVD or an installer's stick (ECMA-119): the bare bytes, under a name of its own. One that
 * begins with a partition table too, to be started from a stick, is the same.
 */
export const iso: Format = {
  name: 'iso',
  title: 'ISO 9660',
  extensions: ['iso'],
  recognise: ({ head }) => hasStandardId(head),
  open: openIso,
};

async function openIso(source: ByteSource, { signal }: OpenOptions): Promise<Disk> {
  await requireStandardId(source, signal);
  const volume = await readPrimaryVolume(source, signal);
  const disk = { ...rawDisk(source), format: 'iso' };
  if (volume === undefined) {
    return { ...disk, warnings: ['the image has no primary volume descriptor'] };
  }
  const { systemId, volumeId, blockBytes, volumeBytes } = volume;
  const details = { volumeId, systemId, blockSizeBytes: blockBytes, volumeSizeBytes: volumeBytes };
  if (source.lengthBytes >= volumeBytes) return { ...disk, details };
  const warning = `the file has ${source.lengthBytes} bytes, but the volume ${volumeBytes}: its end is missing`;
  return { ...disk, details, warnings: [warning] };
}
