import { hasMagic } from '../../bytes/fields.ts';
import type { Format } from '../format.ts';
import { FILE_IDENTIFIER } from './header.ts';
import { vhdxOptions } from './write-options.ts';

/** Virtual Hard Disk version 2 of Hyper-V: Microsoft's open specification MS-VHDX. */
export const vhdx: Format = {
  name: 'vhdx',
  title: 'VHDX',
  extensions: ['vhdx', 'avhdx'],
  recognise: ({ head }) => hasMagic(head, FILE_IDENTIFIER),
  open: async (source, options) => (await import('./reader.ts')).openVhdx(source, options),
  options: vhdxOptions,
  plan: async (disk, request) => (await import('./layout.ts')).planVhdx(disk, request),
  placement: async (sizeBytes, request) => (await import('./layout.ts')).placeVhdx(sizeBytes, request),
  check: async (source, options) => (await import('./check.ts')).checkVhdx(source, options),
  repair: async (source, options) => (await import('./repair.ts')).repairVhdx(source, options),
};
