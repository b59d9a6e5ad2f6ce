import { ceilDivide, SECTOR_BYTES } from '../../bytes/numbers.ts';
import type { Disk } from '../../disk/disk.ts';
import { ImageError } from '../../errors.ts';
import { AllocationMap } from '../../view/allocation-map.ts';
import { wholeDiskRegion } from '../../view/disk-regions.ts';
import type { Layout } from '../../view/layout.ts';
import { bytesRegion, regionsLayout } from '../../view/regions.ts';
import type { FileSet } from '../format.ts';
import { EXTENT_COUNT_MAX, SPLIT_EXTENT_SECTORS } from './limits.ts';
import { encodeDescriptor, type NewDescriptor } from './new-descriptor.ts';
import { GRAIN_BYTES, sparseLayout } from './sparse-layout.ts';

/** How the subformats of several files are made of extents. */
const FORMS: Readonly<
  Record<string, { readonly type: 'FLAT' | 'VMFS' | 'SPARSE'; readonly split?: 's' | 'f' }>
> = {
  monolithicFlat: { type: 'FLAT' },
  vmfs: { type: 'VMFS' },
  twoGbMaxExtentFlat: { type: 'FLAT', split: 'f' },
  twoGbMaxExtentSparse: { type: 'SPARSE', split: 's' },
};

/**
 * The files of a disk with a descriptor of its own: that first, then its extents. Throws IMAGE_OPTION for a base
 * name that cannot stand in the descriptor, IMAGE_LIMIT for a disk that needs more extents than VirtualBox reads.
 */
export async function planFileSet(
  disk: Disk,
  descriptor: NewDescriptor,
  baseName: string,
  signal?: AbortSignal,
): Promise<FileSet> {
  requireSafeName(baseName);
  const { subformat, capacitySectors } = descriptor;
  const { type, split } = FORMS[subformat] ?? { type: 'FLAT' };
  const extentSectors = split === undefined ? capacitySectors : SPLIT_EXTENT_SECTORS;
  const extentCount = ceilDivide(capacitySectors, extentSectors);
  requireExtentCount(extentCount, subformat);
  const files: { name: string; plan: Layout }[] = [];
  const lines: string[] = [];
  for (let index = 0; index < extentCount; index++) {
    const start = index * extentSectors;
    const sectorCount = Math.min(extentSectors, capacitySectors - start);
    const number = split === undefined ? 'flat' : split + String(index + 1).padStart(3, '0');
    const name = `${baseName}-${number}.vmdk`;
    lines.push(`RW ${sectorCount} ${type} "${name}"${type === 'FLAT' ? ' 0' : ''}`);
    files.push({ name, plan: await extentLayout(disk, type === 'SPARSE', start, sectorCount, signal) });
  }
  const text = regionsLayout('vmdk', [bytesRegion(encodeDescriptor(descriptor, lines))]);
  return { kind: 'files', format: 'vmdk', files: [{ name: `${baseName}.vmdk`, plan: text }, ...files] };
}

/** The layout of an extent that holds [start, start + count) of the disk, in sectors. */
async function extentLayout(
  disk: Disk,
  isSparse: boolean,
  startSector: number,
  sectorCount: number,
  signal: AbortSignal | undefined,
): Promise<Layout> {
  const startBytes = startSector * SECTOR_BYTES;
  const lengthBytes = Math.min(sectorCount * SECTOR_BYTES, disk.virtualSizeBytes - startBytes);
  const map = await AllocationMap.ofDisk(diskPart(disk, startBytes, lengthBytes), GRAIN_BYTES, { signal });
  const layout = isSparse
    ? sparseLayout(sectorCount, map)
    : regionsLayout('vmdk', [wholeDiskRegion(map, sectorCount * SECTOR_BYTES)]);
  return {
    ...layout,
    *pieces(fromBytes, toBytes) {
      for (const piece of layout.pieces(fromBytes, toBytes)) {
        yield piece.kind === 'disk' ? { ...piece, offsetBytes: piece.offsetBytes + startBytes } : piece;
      }
    },
  };
}

/** A range of a disk as a disk of its own. */
function diskPart(disk: Disk, startBytes: number, lengthBytes: number): Disk {
  return {
    format: disk.format,
    virtualSizeBytes: lengthBytes,
    details: {},
    warnings: [],
    async *extents(fromBytes, toBytes, signal) {
      for await (const extent of disk.extents(startBytes + fromBytes, startBytes + toBytes, signal)) {
        yield { ...extent, offsetBytes: extent.offsetBytes - startBytes };
      }
    },
    read: (offsetBytes, into, signal) => disk.read(startBytes + offsetBytes, into, signal),
    async close() {},
  };
}

/** The name stands between quotes in a line of text, and beside the descriptor in a folder. */
function requireSafeName(baseName: string): void {
  const isControl = (char: string) => (char.codePointAt(0) ?? 0) < 32 || char === '\x7f';
  const isUnsafe =
    baseName === '' ||
    baseName.startsWith('.') ||
    baseName.length > 200 ||
    !baseName.isWellFormed() ||
    [...baseName].some((char) => '"/\\:'.includes(char) || isControl(char));
  if (!isUnsafe) return;
  throw new ImageError(
    'IMAGE_OPTION',
    `${JSON.stringify(baseName.slice(0, 80))} cannot be in the name of a VMDK extent`,
    {
      structure: 'target name',
      hint: 'choose a name without quotes, slashes, colons and control characters that begins with no dot',
    },
  );
}

function requireExtentCount(extentCount: number, subformat: string): void {
  if (extentCount <= EXTENT_COUNT_MAX) return;
  throw new ImageError(
    'IMAGE_LIMIT',
    `a VMDK of the subformat ${subformat} would have ${extentCount} extents, above ${EXTENT_COUNT_MAX}`,
    { structure: 'VMDK descriptor', hint: 'choose monolithicSparse or monolithicFlat' },
  );
}
