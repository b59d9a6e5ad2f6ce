import { type FormatCheck, formatCheck } from '../profile.ts';
import * as vhd from '../rules/vhd.ts';
import * as vhdx from '../rules/vhdx.ts';

export const checks: readonly FormatCheck[] = [
  formatCheck('vhdx', vhdx.vhdxFacts, [
    {
      origin: 'Microsoft, [MS-VHDX]: Virtual Hard Disk v2 File Format',
      rules: [vhdx.requiredRegions, vhdx.wholeSectors],
    },
    { origin: '[MS-VHDX] 2.3: who opens it for reading alone cannot replay a log', rules: [vhdx.emptyLog] },
    { origin: 'an import takes whole disks', rules: [vhdx.noParent] },
  ]),
  formatCheck('vhd', vhd.vhdFacts, [
    {
      origin: 'Microsoft, Virtual Hard Disk Image Format Specification',
      rules: [vhd.footerAtEnd, vhd.wholeSectors, vhd.hostOsWindows, vhd.dynamicSize],
    },
    { origin: 'QEMU, block/vpc.c: the creators of which the size counts', rules: [vhd.oneSize] },
    { origin: 'an import takes whole disks', rules: [vhd.noParent] },
  ]),
];
