import { type FormatCheck, formatCheck } from '../profile.ts';
import { ovaArchive } from '../rules/archive.ts';
import * as raw from '../rules/raw.ts';
import * as vhd from '../rules/vhd.ts';
import * as vhdx from '../rules/vhdx.ts';
import * as vmdk from '../rules/vmdk.ts';
import { vmdkFacts } from '../rules/vmdk-facts.ts';

const vmdkForAws: FormatCheck = formatCheck('vmdk', vmdkFacts, [
  {
    origin: 'AWS, VM Import/Export user guide: stream-optimized ESX VMDK',
    rules: [vmdk.streamOptimized, vmdk.noParent, vmdk.streamVersionThree, vmdk.ownDescriptor],
  },
  {
    origin: 'VMware, vmware/open-vmdk: what an ESX stream is',
    rules: [
      vmdk.usualGrains,
      vmdk.shortRecords,
      vmdk.orderedGrains,
      vmdk.oneDirectory,
      vmdk.streamEnd,
      vmdk.knownAdapter,
    ],
  },
]);

export const checks: readonly FormatCheck[] = [
  vmdkForAws,
  ovaArchive(vmdkForAws),
  formatCheck('raw', raw.rawFacts, [
    { origin: 'AWS, VM Import/Export user guide: raw disks', rules: [raw.wholeSectors] },
  ]),
  formatCheck('vhd', vhd.vhdFacts, [
    {
      origin: 'AWS, VM Import/Export user guide: fixed and dynamic VHD',
      rules: [vhd.footerAtEnd, vhd.wholeSectors, vhd.noParent],
    },
    { origin: 'QEMU, block/vpc.c: the creators of which the size counts', rules: [vhd.oneSize] },
  ]),
  formatCheck('vhdx', vhdx.vhdxFacts, [
    {
      origin: 'AWS, VM Import/Export user guide: fixed and dynamic VHDX',
      rules: [vhdx.emptyLog, vhdx.noParent, vhdx.wholeSectors, vhdx.smallSectors],
    },
  ]),
];
