import { hasMagic } from '../../bytes/fields.ts';
import type { Format } from '../format.ts';
import { VDI_SIGNATURE_OFFSET } from './header.ts';
import { vdiSubformat } from './write-options.ts';

/** VirtualBox Disk Image. There is no specification; VirtualBox's VDICore.h and VDI.cpp define it. */
export const vdi: Format = {
  name: 'vdi',
  title: 'VDI',
  extensions: ['vdi'],
  recognise: (probe) => hasMagic(probe.head, '\x7f\x10\xda\xbe', VDI_SIGNATURE_OFFSET),
  open: async (source, options) => (await import('./reader.ts')).openVdi(source, options),
  options: [vdiSubformat],
  plan: async (disk, request) => (await import('./layout.ts')).planVdi(disk, request),
  placement: async (sizeBytes, request) => (await import('./layout.ts')).vdiPlacement(sizeBytes, request),
  check: async (source, options) => (await import('./check.ts')).checkVdi(source, options),
  repair: async (source, options) => (await import('./repair.ts')).repairVdi(source, options),
};
