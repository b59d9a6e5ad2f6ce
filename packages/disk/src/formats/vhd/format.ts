import { hasMagic } from '../../bytes/fields.ts';
import type { Format } from '../format.ts';
import { FOOTER_COOKIE } from './footer.ts';
import { vhdSizeAlignment, vhdSubformat } from './write-options.ts';

/** Virtual Hard Disk of Virtual PC and Hyper-V ("Virtual Hard Disk Image Format Specification", 2006). */
export const vhd: Format = {
  name: 'vhd',
  title: 'VHD',
  extensions: ['vhd', 'vpc', 'avhd'],
  // A fixed disk has its footer at the end alone, and very old footers are a byte shorter.
  recognise: ({ head, tail }) =>
    hasMagic(head, FOOTER_COOKIE) ||
    hasMagic(tail, FOOTER_COOKIE, tail.length - 512) ||
    hasMagic(tail, FOOTER_COOKIE, tail.length - 511),
  open: async (source, options) => (await import('./reader.ts')).openVhd(source, options),
  options: [vhdSubformat, vhdSizeAlignment],
  plan: async (disk, request) => (await import('./layout.ts')).planVhd(disk, request),
  placement: async (sizeBytes, request) => (await import('./layout.ts')).vhdPlacement(sizeBytes, request),
  check: async (source, options) => (await import('./check.ts')).checkVhd(source, options),
  repair: async (source, options) => (await import('./repair.ts')).repairVhd(source, options),
};
