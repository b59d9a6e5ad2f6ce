import { ceilDivide, SECTOR_BYTES } from '../../bytes/numbers.ts';
import type { Disk } from '../../disk/disk.ts';
import { ImageError } from '../../errors.ts';
import { AllocationMap } from '../../view/allocation-map.ts';
import type { ImageStream } from '../../view/image-stream.ts';
import type { Layout } from '../../view/layout.ts';
import type { Format, FormatOption, WriteRequest } from '../format.ts';
import { chosenValue } from '../options.ts';
import { checkVmdk } from './check.ts';
import { vmdkKind } from './extent.ts';
import { VIRTUAL_SIZE_BYTES_MAX } from './limits.ts';
import { type AdapterType, encodeDescriptor, type Subformat } from './new-descriptor.ts';
import { openVmdk } from './reader.ts';
import { GRAIN_BYTES, sparseLayout } from './sparse-layout.ts';
import { optimizedStream } from './stream.ts';

const SUBFORMAT: FormatOption = {
  name: 'subformat',
  description:
    'monolithicSparse grows and can be written to; streamOptimized is compressed, for OVA and upload',
  values: ['monolithicSparse', 'streamOptimized'] satisfies Subformat[],
};

const ADAPTER_TYPE: FormatOption = {
  name: 'adapter_type',
  description: 'the controller that the descriptor names; VMware attaches the disk to it',
  values: ['lsilogic', 'ide', 'buslogic'] satisfies AdapterType[],
};

/** VMware's disk format: one file with its descriptor inside. Other subformats are recognised and refused. */
export const vmdk: Format = {
  name: 'vmdk',
  title: 'VMware disk (VMDK)',
  extensions: ['vmdk'],
  recognise: ({ head }) => vmdkKind(head) !== undefined,
  open: openVmdk,
  options: [SUBFORMAT, ADAPTER_TYPE],
  compressions: ['zlib'],
  plan: planVmdk,
  check: checkVmdk,
};

async function planVmdk(disk: Disk, request: WriteRequest): Promise<Layout | ImageStream> {
  const subformat = chosenSubformat(request);
  const adapterType = chosenValue(request, ADAPTER_TYPE) as AdapterType;
  const capacitySectors = ceilDivide(disk.virtualSizeBytes, SECTOR_BYTES);
  requireCapacity(disk.virtualSizeBytes);
  const map = await AllocationMap.ofDisk(disk, GRAIN_BYTES, { signal: request.signal });
  const descriptor = encodeDescriptor({ subformat, adapterType, capacitySectors, seed: request.seed });
  return subformat === 'streamOptimized'
    ? optimizedStream(disk, capacitySectors, map, descriptor)
    : sparseLayout(capacitySectors, map, descriptor);
}

/** Compression means streamOptimized, unless the other subformat was asked for by name. */
function chosenSubformat(request: WriteRequest): Subformat {
  const { compression, options } = request;
  const subformat = chosenValue(request, SUBFORMAT) as Subformat;
  if (compression === undefined) return subformat;
  if (compression === 'zlib' && (options.subformat === undefined || subformat === 'streamOptimized')) {
    return 'streamOptimized';
  }
  throw new ImageError(
    'IMAGE_OPTION',
    compression === 'zlib'
      ? `a VMDK of the subformat ${subformat} cannot be compressed`
      : `a VMDK cannot be compressed with ${compression}`,
    { structure: 'option compression', hint: 'use zlib compression, with the subformat streamOptimized' },
  );
}

function requireCapacity(virtualSizeBytes: number): void {
  const place = { structure: 'VMDK capacity', hint: 'choose raw' };
  if (virtualSizeBytes === 0)
    throw new ImageError('IMAGE_LIMIT', 'a VMDK cannot hold a disk of 0 bytes', place);
  if (virtualSizeBytes > VIRTUAL_SIZE_BYTES_MAX) {
    throw new ImageError(
      'IMAGE_LIMIT',
      `a VMDK cannot hold a disk of ${virtualSizeBytes} bytes: 64 TiB is the most`,
      place,
    );
  }
}
