import type { Format } from '../../formats/format.ts';
import { archiveKind } from '../kind.ts';
import { checkOva } from './check.ts';
import { openOva } from './open.ts';
import { ovaOptions, planOva } from './plan.ts';

/** Open Virtual Appliance (DSP0243): a tar of an OVF descriptor, disks and a manifest. */
export const ova: Format = {
  name: 'ova',
  title: 'OVA appliance',
  extensions: ['ova'],
  recognise: ({ head }) => archiveKind(head) === 'ova',
  open: openOva,
  selectors: ['member'],
  options: ovaOptions,
  compressions: ['zlib'],
  plan: planOva,
  check: checkOva,
};
