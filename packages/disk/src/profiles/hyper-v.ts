import { type Consumer, formatCheck } from './profile.ts';
import * as vhd from './rules/vhd.ts';

/** VHDX for machines of both generations, VHD for the first. */
export const hyperV: Consumer = {
  name: 'hyper-v',
  title: 'Microsoft Hyper-V',
  forms: [
    {
      format: 'vhd',
      options: { subformat: ['dynamic', 'fixed'], size_alignment: 'any' },
      compressions: ['none'],
    },
  ],
  checks: [
    formatCheck('vhd', vhd.vhdFacts, [
      {
        origin: 'Microsoft, Virtual Hard Disk Image Format Specification',
        rules: [vhd.footerAtEnd, vhd.wholeSectors, vhd.hostOsWindows, vhd.dynamicSize],
      },
      { origin: 'QEMU, block/vpc.c: the creators of which the size counts', rules: [vhd.oneSize] },
      { origin: 'an import takes whole disks', rules: [vhd.noParent] },
    ]),
  ],
};
