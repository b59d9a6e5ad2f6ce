import type { Disk } from '../../disk/disk.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import type { OpenOptions } from '../format.ts';
import { VhdBlockTable } from './block-table.ts';
import { BlocksVhd } from './blocks-disk.ts';
import { readDynamicHeader } from './dynamic-header.ts';
import { readArrivingEnds, readEnds, type VhdEnds } from './ends.ts';
import { openArrivingFixed, openFixed } from './fixed.ts';
import { openVhdParent } from './parent.ts';

/**
 * Opens a VHD image: fixed, dynamic, or differencing with its parents through the gate. Throws ImageError for all
 * that could not be read right. Of an arriving file only the start is read.
 */
export async function openVhd(source: ByteSource, options: OpenOptions): Promise<Disk> {
  if (source.sequential === true) {
    const arriving = await readArrivingEnds(source, options.signal);
    return arriving === undefined ? openArrivingFixed(source) : openBlocks(source, arriving, options);
  }
  const ends = await readEnds(source, options.signal);
  return ends.footer.diskType === 'fixed' ? openFixed(source, ends) : openBlocks(source, ends, options);
}

async function openBlocks(source: ByteSource, ends: VhdEnds, options: OpenOptions): Promise<Disk> {
  const { footer } = ends;
  const header = await readDynamicHeader(source, footer, options.signal);
  const table = await VhdBlockTable.read(source, header, footer.currentSizeBytes, options.signal);
  table.requireSound(ends.dataEndBytes);
  const parent =
    footer.diskType === 'differencing' ? await openVhdParent(source, header, options) : undefined;
  return new BlocksVhd(source, ends, header, table, parent);
}
