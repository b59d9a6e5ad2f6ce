import { TIB } from '../bytes/numbers.ts';
import { type Consumer, type FormatCheck, formatCheck } from './profile.ts';
import { ovaArchive } from './rules/archive.ts';
import * as raw from './rules/raw.ts';
import * as vhd from './rules/vhd.ts';
import * as vhdx from './rules/vhdx.ts';
import * as vmdk from './rules/vmdk.ts';
import { vmdkFacts } from './rules/vmdk-facts.ts';

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

/**
 * EC2's VM import. Of what it takes, a streamOptimized VMDK is the least to upload: zeros are left out and the
 * rest is compressed. A raw disk goes up whole.
 */
export const aws: Consumer = {
  name: 'aws',
  title: 'Amazon EC2 (VM Import)',
  forms: [
    {
      format: 'vmdk',
      options: {
        subformat: ['streamOptimized'],
        adapter_type: ['lsilogic', 'ide', 'buslogic'],
        tables: ['end', 'front'],
      },
      compressions: ['none', 'zlib'],
    },
    { format: 'raw', options: {}, compressions: ['none'] },
    {
      format: 'vhd',
      options: { subformat: ['dynamic', 'fixed'], size_alignment: 'any' },
      compressions: ['none'],
    },
    {
      format: 'vhdx',
      options: { subformat: ['dynamic', 'fixed'], block_size: 'any', logical_sector_size: ['512'] },
      compressions: ['none'],
    },
    {
      format: 'ova',
      options: { name: 'any', cpus: 'any', memory_mib: 'any', firmware: 'any', os: 'any' },
      compressions: ['none', 'zlib'],
    },
  ],
  limits: { maximumBytes: 16 * TIB, origin: 'Amazon EBS: a volume of most types has 16 TiB at most' },
  checks: [
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
  ],
};
