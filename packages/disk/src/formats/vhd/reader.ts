import { blockExtents } from '../../disk/block-extents.ts';
import type { Disk, Extent } from '../../disk/disk.ts';
import { ImageError, invariant } from '../../errors.ts';
import { type ByteSource, requireInside } from '../../io/byte-source.ts';
import type { OpenOptions } from '../format.ts';
import { refuseParent } from '../refuse-parent.ts';
import { VhdBlockTable } from './block-table.ts';
import { readDynamicHeader, TABLE_STRUCTURE, type VhdDynamicHeader } from './dynamic-header.ts';
import { endsWarnings, readEnds, type VhdEnds } from './ends.ts';
import { chsSizeBytes, footerWarnings, type VhdFooter } from './footer.ts';
import { LOCATOR_STRUCTURE, readParentName } from './parent-name.ts';
import { clearUnusedSectors, SectorBitmaps } from './sector-bitmap.ts';

/** Opens a dynamic or fixed VHD image. Throws ImageError for all that could not be read right. */
export async function openVhd(source: ByteSource, options: OpenOptions): Promise<Disk> {
  const ends = await readEnds(source, options.signal);
  if (ends.footer.diskType === 'fixed') return openFixed(source, ends);
  const header = await readBaseHeader(source, ends.footer, options);
  const table = await VhdBlockTable.read(source, header, ends.footer.currentSizeBytes, options.signal);
  for (const { code, message, offsetBytes } of table.damage(ends.dataEndBytes)) {
    throw new ImageError(code, message, {
      structure: TABLE_STRUCTURE,
      offsetBytes,
    });
  }
  return new DynamicVhd(source, ends, header, table);
}

/** The header of a dynamic disk; a differencing one is refused through the gate. */
export async function readBaseHeader(
  source: ByteSource,
  footer: VhdFooter,
  options: OpenOptions,
): Promise<VhdDynamicHeader> {
  const header = await readDynamicHeader(source, footer, options.signal);
  if (footer.diskType !== 'differencing') return header;
  const parent = { name: await readParentName(source, header, options.signal), structure: LOCATOR_STRUCTURE };
  return refuseParent('VHD', parent, 'merge it with its parent first, with Merge-VHD of Hyper-V', options);
}

/** Bytes between the disk and the footer of a fixed image. Throws IMAGE_TRUNCATED when the disk is cut. */
export function fixedSlackBytes(source: ByteSource, ends: VhdEnds): number {
  const slackBytes = ends.dataEndBytes - ends.footer.currentSizeBytes;
  requireInside(source, 0, source.lengthBytes - slackBytes, 'VHD fixed disk with its footer');
  return slackBytes;
}

function openFixed(source: ByteSource, ends: VhdEnds): Disk {
  const { currentSizeBytes } = ends.footer;
  const slackBytes = fixedSlackBytes(source, ends);
  const warnings = [...endsWarnings(ends), ...footerWarnings(ends.footer)];
  if (slackBytes > 0) warnings.push(`${slackBytes} bytes between the disk and the footer were ignored`);
  return {
    format: 'vhd',
    virtualSizeBytes: currentSizeBytes,
    details: detailsOf(ends.footer),
    warnings,
    async *extents(from, to, signal) {
      signal?.throwIfAborted();
      invariant(to <= currentSizeBytes, 'extents lie inside the disk');
      if (from < to) yield { offsetBytes: from, lengthBytes: to - from, kind: 'data' };
    },
    async read(offsetBytes, into, signal) {
      invariant(offsetBytes + into.length <= currentSizeBytes, 'a read lies inside the disk');
      await source.read(offsetBytes, into, signal);
    },
    async close() {},
  };
}

class DynamicVhd implements Disk {
  readonly format = 'vhd';
  readonly virtualSizeBytes: number;
  readonly details: Disk['details'];
  readonly warnings: string[];
  readonly #source: ByteSource;
  readonly #header: VhdDynamicHeader;
  readonly #table: VhdBlockTable;
  readonly #bitmaps: SectorBitmaps;
  #warnedOfUnused = false;

  constructor(source: ByteSource, ends: VhdEnds, header: VhdDynamicHeader, table: VhdBlockTable) {
    this.virtualSizeBytes = ends.footer.currentSizeBytes;
    this.details = {
      ...detailsOf(ends.footer),
      blockSizeBytes: header.blockBytes,
      maxTableEntries: header.maxTableEntries,
    };
    this.warnings = [...endsWarnings(ends), ...footerWarnings(ends.footer)];
    this.#source = source;
    this.#header = header;
    this.#table = table;
    this.#bitmaps = new SectorBitmaps(source, header, table);
  }

  /** From the table alone: a stored block is data, whatever its sector bitmap leaves out. */
  extents(fromBytes: number, toBytes: number, signal?: AbortSignal): AsyncIterable<Extent> {
    invariant(toBytes <= this.virtualSizeBytes, 'extents lie inside the disk');
    const kindOf = (block: number) => (this.#table.isStored(block) ? 'data' : 'hole');
    return blockExtents(this.#header.blockBytes, kindOf, fromBytes, toBytes, signal);
  }

  async read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    invariant(offsetBytes + into.length <= this.virtualSizeBytes, 'a read lies inside the disk');
    const { blockBytes } = this.#header;
    const reads: Promise<void>[] = [];
    for (let at = 0; at < into.length; ) {
      const withinBytes = (offsetBytes + at) % blockBytes;
      const block = (offsetBytes + at - withinBytes) / blockBytes;
      const part = into.subarray(at, at + blockBytes - withinBytes);
      if (this.#table.isStored(block)) reads.push(this.#readStored(block, withinBytes, part, signal));
      else part.fill(0);
      at += part.length;
    }
    await Promise.all(reads);
  }

  async close(): Promise<void> {}

  async #readStored(
    block: number,
    withinBytes: number,
    part: Uint8Array,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const data = this.#source.read(this.#table.dataOffset(block) + withinBytes, part, signal);
    if (this.#bitmaps.isKnownFull(block)) return data;
    // The bitmap comes beside the data, not before it: it seldom changes anything.
    const [bitmap] = await Promise.all([this.#bitmaps.bitmap(block), data]);
    if (bitmap !== undefined && clearUnusedSectors(bitmap, withinBytes, part)) this.#warnOfUnused(block);
  }

  #warnOfUnused(block: number): void {
    if (this.#warnedOfUnused) return;
    this.#warnedOfUnused = true;
    this.warnings.push(
      `block ${block} holds data in sectors that its bitmap marks as unused; they were read as zeros, as the specification says, but some programs (qemu) show the data`,
    );
  }
}

function detailsOf(footer: VhdFooter): Disk['details'] {
  const { cylinders, heads, sectorsPerTrack } = footer.geometry;
  return {
    diskType: footer.diskType,
    creatorApplication: footer.creatorApplication,
    creatorVersion: footer.creatorVersion,
    creatorHostOs: footer.creatorHostOs,
    timeStamp: footer.timeStamp,
    originalSizeBytes: footer.originalSizeBytes,
    diskGeometry: `${cylinders}/${heads}/${sectorsPerTrack}`,
    chsSizeBytes: chsSizeBytes(footer),
    uniqueId: footer.uniqueId,
  };
}
