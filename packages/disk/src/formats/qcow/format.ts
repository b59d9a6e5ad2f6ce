import { hasMagic } from '../../bytes/fields.ts';
import type { Format } from '../format.ts';
import { QCOW_MAGIC } from './header.ts';

/** QEMU copy-on-write, version 1: block/qcow.c of QEMU, which is all the specification that there is. */
export const qcow: Format = {
  name: 'qcow',
  title: 'qcow version 1',
  extensions: ['qcow'],
  recognise: ({ head }) => hasMagic(head, QCOW_MAGIC),
  open: async (source, options) => (await import('./reader.ts')).openQcow(source, options),
  plan: async (disk, request) => (await import('./layout.ts')).planQcow(disk, request),
  placement: async (sizeBytes) => (await import('./layout.ts')).qcowPlacement(sizeBytes),
  check: async (source, options) => (await import('./check.ts')).checkQcow(source, options),
};
