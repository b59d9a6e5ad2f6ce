import { hasMagic } from '../../bytes/fields.ts';
import type { Format } from '../format.ts';
import { checkVhd } from './check.ts';
import { FOOTER_COOKIE } from './footer.ts';
import { planVhd, vhdPlacement, vhdSizeAlignment, vhdSubformat } from './layout.ts';
import { openVhd } from './reader.ts';
import { repairVhd } from './repair.ts';

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
  open: openVhd,
  options: [vhdSubformat, vhdSizeAlignment],
  plan: planVhd,
  placement: vhdPlacement,
  check: checkVhd,
  repair: repairVhd,
};
