import { type FormatCheck, formatCheck } from '../profile.ts';
import { ovaArchive } from '../rules/archive.ts';
import * as vmdk from '../rules/vmdk.ts';
import { vmdkFacts } from '../rules/vmdk-facts.ts';

const vmdkForVmware: FormatCheck = formatCheck('vmdk', vmdkFacts, [
  {
    origin: 'VMware, vmware/open-vmdk: what its tools, and ESXi with them, take',
    rules: [
      vmdk.streamOrDatastore,
      vmdk.flatExtents,
      vmdk.usualGrains,
      vmdk.shortRecords,
      vmdk.orderedGrains,
      vmdk.ownDescriptor,
      vmdk.knownAdapter,
    ],
  },
  {
    origin: 'ESXi since 5.5 refuses a version 1: "sparse VMDK version too old"',
    rules: [vmdk.streamVersionThree],
  },
  {
    origin: "VMware's own streams have one grain directory and an end; imports of others have failed",
    rules: [vmdk.oneDirectory, vmdk.streamEnd],
  },
  { origin: 'an import takes whole disks', rules: [vmdk.noParent] },
]);

export const checks: readonly FormatCheck[] = [vmdkForVmware, ovaArchive(vmdkForVmware, ['virtualbox-'])];
