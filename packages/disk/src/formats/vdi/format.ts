import { hasMagic } from '../../bytes/fields.ts';
import type { Format } from '../format.ts';
import { checkVdi } from './check.ts';
import { VDI_SIGNATURE_OFFSET } from './header.ts';
import { planVdi, vdiPlacement, vdiSubformat } from './layout.ts';
import { openVdi } from './reader.ts';
import { repairVdi } from './repair.ts';

/** VirtualBox Disk Image. There is no specification; VirtualBox's VDICore.h and VDI.cpp define it. */
export const vdi: Format = {
  name: 'vdi',
  title: 'VDI',
  extensions: ['vdi'],
  recognise: (probe) => hasMagic(probe.head, '\x7f\x10\xda\xbe', VDI_SIGNATURE_OFFSET),
  open: openVdi,
  options: [vdiSubformat],
  plan: planVdi,
  placement: vdiPlacement,
  check: checkVdi,
  repair: repairVdi,
};
