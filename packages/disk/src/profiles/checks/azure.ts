import { type FormatCheck, formatCheck } from '../profile.ts';
import * as vhd from '../rules/vhd.ts';

export const checks: readonly FormatCheck[] = [
  formatCheck('vhd', vhd.vhdFacts, [
    {
      origin: 'Azure, "Prepare a Windows VHD or VHDX to upload"; microsoft/azure-vhd-utils',
      rules: [vhd.fixedDisk, vhd.wholeMebibytes, vhd.footerAtEnd, vhd.exactLength, vhd.noParent],
    },
    { origin: 'FreeBSD r284773: Azure refuses other creator systems', rules: [vhd.hostOsWindows] },
    { origin: 'QEMU, block/vpc.c: the creators of which the size counts', rules: [vhd.oneSize] },
  ]),
];
