import { ceilDivide, SECTOR_BYTES } from '../../bytes/numbers.ts';
import type { ProgressListener } from '../../convert/progress.ts';
import type { Disk } from '../../disk/disk.ts';
import { ImageError } from '../../errors.ts';
import { AllocationMap } from '../../view/allocation-map.ts';
import type { BlockPlacement } from '../../view/block-placement.ts';
import type { ImageStream } from '../../view/image-stream.ts';
import type { Layout } from '../../view/layout.ts';
import { storedUnits } from '../../view/stored-units.ts';
import type { FileSet, WriteRequest } from '../format.ts';
import { VIRTUAL_SIZE_BYTES_MAX } from './limits.ts';
import { embeddedDescriptor } from './new-descriptor.ts';
import { planFileSet } from './new-files.ts';
import { GRAIN_BYTES, sparseLayout, sparsePlacement } from './sparse-layout.ts';
import { storedStreamLayout } from './stored-layout.ts';
import { optimizedStream, RECORD_DATA_BYTES_MAX } from './stream.ts';
import { chosenForm, type VmdkForm } from './write-options.ts';

export async function planVmdk(disk: Disk, request: WriteRequest): Promise<Layout | ImageStream | FileSet> {
  const form = chosenForm(request);
  const capacitySectors = requireCapacity(disk.virtualSizeBytes);
  const descriptor = { ...form, capacitySectors, seed: request.seed };
  const { signal } = request;
  switch (form.subformat) {
    case 'monolithicSparse': {
      const map = await AllocationMap.ofDisk(disk, GRAIN_BYTES, { signal });
      return sparseLayout(capacitySectors, map, embeddedDescriptor(descriptor));
    }
    case 'streamOptimized': {
      const { tables } = form;
      const plan = { disk, capacitySectors, tables, descriptor: embeddedDescriptor(descriptor), signal };
      return optimizedStream(plan);
    }
    default:
      return planFileSet(disk, descriptor, request.baseName, signal);
  }
}

/** A streamOptimized file of grains that the disk has compressed already; see `storedUnits`. */
export async function planStoredVmdk(
  disk: Disk,
  request: WriteRequest,
  onProgress?: ProgressListener,
): Promise<Layout | undefined> {
  const form = chosenForm(request);
  if (form.subformat !== 'streamOptimized') return undefined;
  const capacitySectors = requireCapacity(disk.virtualSizeBytes);
  const stored = {
    unitBytes: GRAIN_BYTES,
    compression: 'zlib',
    takesPlain: false,
    limitBytes: RECORD_DATA_BYTES_MAX,
  } as const;
  const grains = await storedUnits(disk, stored, { signal: request.signal, onProgress });
  const descriptor = embeddedDescriptor({ ...form, capacitySectors, seed: request.seed });
  return grains && storedStreamLayout(grains, { capacitySectors, descriptor, tables: form.tables });
}

export function placeVmdk(virtualSizeBytes: number, request: WriteRequest): BlockPlacement | undefined {
  const form: VmdkForm = chosenForm(request);
  const capacitySectors = requireCapacity(virtualSizeBytes);
  return form.subformat === 'monolithicSparse' ? sparsePlacement(capacitySectors) : undefined;
}

/** The disk in sectors. */
function requireCapacity(virtualSizeBytes: number): number {
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
  return ceilDivide(virtualSizeBytes, SECTOR_BYTES);
}
