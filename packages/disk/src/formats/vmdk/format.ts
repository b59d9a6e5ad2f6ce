import type { Format } from '../format.ts';
import { vmdkKind } from './kind.ts';
import { vmdkOptions } from './write-options.ts';

/** VMware's disk format: one file with its descriptor inside, or a descriptor and its extent files. */
export const vmdk: Format = {
  name: 'vmdk',
  title: 'VMware disk (VMDK)',
  extensions: ['vmdk'],
  recognise: ({ head }) => vmdkKind(head) !== undefined,
  open: async (source, options) => (await import('./reader.ts')).openVmdk(source, options),
  options: vmdkOptions,
  compressions: ['zlib'],
  plan: async (disk, request) => (await import('./plan.ts')).planVmdk(disk, request),
  planStored: async (...asked) => (await import('./plan.ts')).planStoredVmdk(...asked),
  placement: async (sizeBytes, request) => (await import('./plan.ts')).placeVmdk(sizeBytes, request),
  check: async (source, options) => (await import('./check.ts')).checkVmdk(source, options),
  repair: async (source, options) => (await import('./repair.ts')).repairVmdk(source, options),
};
