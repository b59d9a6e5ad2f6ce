import type { Disk } from '../../disk/disk.ts';
import type { BlockPlacement } from '../../view/block-placement.ts';
import type { ImageStream } from '../../view/image-stream.ts';
import type { Layout } from '../../view/layout.ts';
import type { WriteRequest } from '../format.ts';
import { qcow2Layout, qcow2Placement } from './layout.ts';
import { qcow2Writing } from './options.ts';
import { withHolesAsZeros } from './overlay.ts';
import { qcow2Stream } from './stream.ts';

export async function planQcow2(disk: Disk, request: WriteRequest): Promise<Layout | ImageStream> {
  const writing = qcow2Writing(disk.virtualSizeBytes, request);
  if (writing.kind === 'stream') return qcow2Stream(disk, writing.options);
  return qcow2Layout(writing.holesAreZeros ? withHolesAsZeros(disk) : disk, writing.options);
}

/** None for an overlay: a map of data alone does not tell its zeros from its holes. */
export function placeQcow2(virtualSizeBytes: number, request: WriteRequest): BlockPlacement | undefined {
  const writing = qcow2Writing(virtualSizeBytes, request);
  if (writing.kind === 'stream' || writing.options.backing !== undefined) return undefined;
  return qcow2Placement(virtualSizeBytes, writing.options);
}
