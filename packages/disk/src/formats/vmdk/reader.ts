import { SECTOR_BYTES } from '../../bytes/numbers.ts';
import type { Disk } from '../../disk/disk.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import type { OpenOptions } from '../format.ts';
import { descriptorDetails, openDescribed, openParent } from './described-disk.ts';
import {
  type EmbeddedExtent,
  embeddedWarnings,
  isLoneExtent,
  isWholeDisk,
  readDescriptorFile,
  readEmbedded,
  refuseLoneExtent,
  requireSectors,
  virtualSectors,
} from './extent.ts';
import { readKind } from './kind.ts';
import { openSparsePart } from './open-part.ts';
import { VmdkDisk } from './vmdk-disk.ts';

/** Opens a VMDK: one file that is the whole disk, or a descriptor with the files that it names. */
export async function openVmdk(source: ByteSource, options: OpenOptions): Promise<Disk> {
  const kind = await readKind(source, options.signal);
  if (kind === 'descriptor')
    return openDescribed(source, await readDescriptorFile(source, options.signal), options);
  if (kind !== 'sparse') refuseLoneExtent(source);
  const embedded = await readEmbedded(source, options.signal);
  const { descriptor } = embedded;
  if (descriptor !== undefined && !isWholeDisk(embedded)) return openDescribed(source, descriptor, options);
  return openWhole(source, embedded, options);
}

/** A file that is all of the disk, over its parent where it is a delta. */
async function openWhole(
  source: ByteSource,
  embedded: EmbeddedExtent,
  options: OpenOptions,
): Promise<VmdkDisk> {
  if (isLoneExtent(embedded)) refuseLoneExtent(source);
  requireSectors(embedded);
  const { header, descriptor } = embedded;
  const lengthBytes = virtualSectors(embedded) * SECTOR_BYTES;
  const { part, warnings } = await openSparsePart(source, header, lengthBytes, options.signal);
  const parent = await openParent(source, descriptor, options);
  const { createType, ...described } = descriptorDetails(descriptor);
  return new VmdkDisk({
    parts: [part],
    parent: parent?.disk,
    details: {
      createType: createType ?? null,
      version: header.version,
      compressed: header.compressed,
      grainSizeBytes: header.grainSectors * SECTOR_BYTES,
      ...described,
      redundantGrainDirectory: header.redundantDirectorySector !== undefined,
      footer: header.directorySector === undefined,
    },
    warnings: [...embeddedWarnings(embedded), ...warnings],
    async close() {
      await parent?.close();
    },
  });
}
