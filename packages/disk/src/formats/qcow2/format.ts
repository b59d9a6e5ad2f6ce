import { hasMagic, viewOf } from '../../bytes/fields.ts';
import type { Format } from '../format.ts';
import { QCOW2_MAGIC } from './header.ts';
import { qcow2Options } from './options.ts';

/** QEMU copy-on-write, versions 2 and 3: docs/interop/qcow2.txt of QEMU. */
export const qcow2: Format = {
  name: 'qcow2',
  title: 'qcow2',
  extensions: ['qcow2'],
  recognise({ head }) {
    return hasMagic(head, QCOW2_MAGIC) && head.length >= 8 && viewOf(head).getUint32(4) !== 1;
  },
  open: async (source, options) => (await import('./reader.ts')).openQcow2(source, options),
  selectors: ['snapshot'],
  options: qcow2Options,
  compressions: ['zlib', 'zstd'],
  plan: async (disk, request) => (await import('./plan.ts')).planQcow2(disk, request),
  planStored: async (...asked) => (await import('./plan.ts')).planStoredQcow2(...asked),
  placement: async (sizeBytes, request) => (await import('./plan.ts')).placeQcow2(sizeBytes, request),
  check: async (source, options) => (await import('./check.ts')).checkQcow2(source, options),
  repair: async (source, options) => (await import('./repair.ts')).repairQcow2(source, options),
};
