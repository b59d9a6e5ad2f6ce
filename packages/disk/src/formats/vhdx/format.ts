import { hasMagic } from '../../bytes/fields.ts';
import type { Format } from '../format.ts';
import { checkVhdx } from './check.ts';
import { FILE_IDENTIFIER } from './header.ts';
import { placeVhdx, planVhdx, vhdxOptions } from './layout.ts';
import { openVhdx } from './reader.ts';
import { repairVhdx } from './repair.ts';

/** Virtual Hard Disk version 2 of Hyper-V: Microsoft's open specification MS-VHDX. */
export const vhdx: Format = {
  name: 'vhdx',
  title: 'VHDX',
  extensions: ['vhdx', 'avhdx'],
  recognise: ({ head }) => hasMagic(head, FILE_IDENTIFIER),
  open: openVhdx,
  options: vhdxOptions,
  plan: planVhdx,
  placement: placeVhdx,
  check: checkVhdx,
  repair: repairVhdx,
};
