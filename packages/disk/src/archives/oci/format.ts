import type { Format } from '../../formats/format.ts';
import { archiveKind } from '../kind.ts';
import { ociOptions } from './write-options.ts';

/** The archive in which Oracle Cloud exports and imports custom images: a tar of a qcow2 file and a document. */
export const oci: Format = {
  name: 'oci',
  title: 'Oracle Cloud image (.oci)',
  extensions: ['oci'],
  recognise: ({ head }) => archiveKind(head) === 'oci',
  open: async (source, options) => (await import('./open.ts')).openOci(source, options),
  selectors: ['snapshot', 'member'],
  options: ociOptions,
  compressions: ['zlib'],
  plan: async (disk, request) => (await import('./plan.ts')).planOci(disk, request),
  planStored: async (...asked) => (await import('./plan.ts')).planStoredOci(...asked),
  placement: async (sizeBytes, request) => (await import('./plan.ts')).ociPlacement(sizeBytes, request),
  check: async (source, options) => (await import('./check.ts')).checkOci(source, options),
};
