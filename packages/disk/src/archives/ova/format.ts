import type { Format } from '../../formats/format.ts';
import { archiveKind } from '../kind.ts';
import { ovaOptions } from './write-options.ts';

/** Open Virtual Appliance (DSP0243): a tar of an OVF descriptor, disks and a manifest. */
export const ova: Format = {
  name: 'ova',
  title: 'OVA appliance',
  extensions: ['ova'],
  recognise: ({ head }) => archiveKind(head) === 'ova',
  open: async (source, options) => (await import('./open.ts')).openOva(source, options),
  selectors: ['member'],
  options: ovaOptions,
  compressions: ['zlib'],
  plan: async (disk, request) => (await import('./plan.ts')).planOva(disk, request),
  check: async (source, options) => (await import('./check.ts')).checkOva(source, options),
};
