import { SECTOR_BYTES } from '../../bytes/numbers.ts';
import type { ProgressListener } from '../../convert/progress.ts';
import type { Disk } from '../../disk/disk.ts';
import type { BlockPlacement } from '../../view/block-placement.ts';
import type { ImageStream } from '../../view/image-stream.ts';
import type { Layout } from '../../view/layout.ts';
import { storedUnits } from '../../view/stored-units.ts';
import type { WriteRequest } from '../format.ts';
import { qcow2Layout, qcow2Placement } from './layout.ts';
import { qcow2Writing } from './options.ts';
import { withHolesAsZeros } from './overlay.ts';
import { qcow2StoredLayout } from './stored-layout.ts';
import { qcow2Stream } from './stream.ts';

export async function planQcow2(disk: Disk, request: WriteRequest): Promise<Layout | ImageStream> {
  const writing = qcow2Writing(disk.virtualSizeBytes, request);
  if (writing.kind === 'stream') return qcow2Stream(disk, writing.options);
  return qcow2Layout(writing.holesAreZeros ? withHolesAsZeros(disk) : disk, writing.options);
}

/** Its clusters as the disk has them compressed; see `storedUnits`. Undefined too with a window of 4 KiB. */
export async function planStoredQcow2(
  disk: Disk,
  request: WriteRequest,
  onProgress?: ProgressListener,
): Promise<Layout | undefined> {
  const writing = qcow2Writing(disk.virtualSizeBytes, request);
  if (writing.kind !== 'stream' || writing.options.windowBits < 15) return undefined;
  const { version, clusterBytes, compression, signal } = writing.options;
  const form = {
    unitBytes: clusterBytes,
    compression: compression === 'zstd' ? 'zstd' : 'deflate-raw',
    takesPlain: true,
    // Grains of noise are a little longer than they were. Wherever it begins, an entry has room for its sectors.
    limitBytes: 2 * clusterBytes - SECTOR_BYTES + 1,
  } as const;
  const units = await storedUnits(disk, form, { signal, onProgress });
  return units && qcow2StoredLayout(units, { version, compression });
}

/** None for an overlay: a map of data alone does not tell its zeros from its holes. */
export function placeQcow2(virtualSizeBytes: number, request: WriteRequest): BlockPlacement | undefined {
  const writing = qcow2Writing(virtualSizeBytes, request);
  if (writing.kind === 'stream' || writing.options.backing !== undefined) return undefined;
  return qcow2Placement(virtualSizeBytes, writing.options);
}
