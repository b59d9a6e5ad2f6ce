import { hasMagic, viewOf } from '../../bytes/fields.ts';
import type { Disk } from '../../disk/disk.ts';
import type { BlockPlacement } from '../../view/block-placement.ts';
import type { ImageStream } from '../../view/image-stream.ts';
import type { Layout } from '../../view/layout.ts';
import type { Format, WriteRequest } from '../format.ts';
import { checkQcow2 } from './check.ts';
import { QCOW2_MAGIC } from './header.ts';
import { qcow2Layout, qcow2Placement } from './layout.ts';
import { qcow2Options, qcow2Writing } from './options.ts';
import { withHolesAsZeros } from './overlay.ts';
import { openQcow2 } from './reader.ts';
import { repairQcow2 } from './repair.ts';
import { qcow2Stream } from './stream.ts';

/** QEMU copy-on-write, versions 2 and 3: docs/interop/qcow2.txt of QEMU. */
export const qcow2: Format = {
  name: 'qcow2',
  title: 'qcow2',
  extensions: ['qcow2'],
  recognise({ head }) {
    return hasMagic(head, QCOW2_MAGIC) && head.length >= 8 && viewOf(head).getUint32(4) !== 1;
  },
  open: openQcow2,
  selectors: ['snapshot'],
  options: qcow2Options,
  compressions: ['zlib', 'zstd'],
  plan: planQcow2,
  placement: placementOf,
  check: checkQcow2,
  repair: repairQcow2,
};

async function planQcow2(disk: Disk, request: WriteRequest): Promise<Layout | ImageStream> {
  const writing = qcow2Writing(disk.virtualSizeBytes, request);
  if (writing.kind === 'stream') return qcow2Stream(disk, writing.options);
  return qcow2Layout(writing.holesAreZeros ? withHolesAsZeros(disk) : disk, writing.options);
}

/** None for an overlay: a map of data alone does not tell its zeros from its holes. */
function placementOf(virtualSizeBytes: number, request: WriteRequest): BlockPlacement | undefined {
  const writing = qcow2Writing(virtualSizeBytes, request);
  if (writing.kind === 'stream' || writing.options.backing !== undefined) return undefined;
  return qcow2Placement(virtualSizeBytes, writing.options);
}
