import { MIB, TIB } from '../bytes/numbers.ts';
import { type Consumer, formatCheck } from './profile.ts';
import * as vhd from './rules/vhd.ts';

/** A managed disk takes a fixed VHD and nothing else: a page blob of the disk and its footer. */
export const azure: Consumer = {
  name: 'azure',
  title: 'Microsoft Azure',
  forms: [
    {
      format: 'vhd',
      options: { subformat: ['fixed'], size_alignment: ['1M'] },
      compressions: ['none'],
    },
  ],
  limits: {
    minimumBytes: 20 * MIB,
    maximumBytes: 32 * TIB,
    origin: 'Azure, managed disks: uploadSizeBytes is between 20 MiB and 32 TiB, and 512 bytes',
  },
  checks: [
    formatCheck('vhd', vhd.vhdFacts, [
      {
        origin: 'Azure, "Prepare a Windows VHD or VHDX to upload"; microsoft/azure-vhd-utils',
        rules: [vhd.fixedDisk, vhd.wholeMebibytes, vhd.footerAtEnd, vhd.exactLength, vhd.noParent],
      },
      { origin: 'FreeBSD r284773: Azure refuses other creator systems', rules: [vhd.hostOsWindows] },
      { origin: 'QEMU, block/vpc.c: the creators of which the size counts', rules: [vhd.oneSize] },
    ]),
  ],
};
