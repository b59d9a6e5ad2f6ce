import { TIB } from '../bytes/numbers.ts';
import { type Consumer, type FormatCheck, formatCheck } from './profile.ts';
import { ovaArchive } from './rules/archive.ts';
import * as vmdk from './rules/vmdk.ts';
import { vmdkFacts } from './rules/vmdk-facts.ts';

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

/**
 * ESXi and vCenter: a stream for an OVA or an import, or descriptor and flat extent for a datastore. What VMware's
 * desktop programs take beyond that, ESXi does not start.
 */
export const vmware: Consumer = {
  name: 'vmware',
  title: 'VMware ESXi and vCenter',
  forms: [
    {
      format: 'vmdk',
      options: {
        subformat: ['streamOptimized'],
        adapter_type: ['lsilogic', 'buslogic', 'ide', 'pvscsi'],
        hwversion: 'any',
        tables: ['end', 'front'],
      },
      compressions: ['none', 'zlib'],
    },
    {
      format: 'vmdk',
      options: {
        subformat: ['vmfs'],
        adapter_type: ['lsilogic', 'buslogic', 'ide', 'pvscsi'],
        hwversion: 'any',
      },
      compressions: ['none'],
    },
    {
      format: 'ova',
      options: { name: 'any', cpus: 'any', memory_mib: 'any', firmware: 'any', os: 'any' },
      compressions: ['none', 'zlib'],
    },
  ],
  limits: {
    maximumBytes: 62 * TIB,
    origin: 'VMware configuration maximums: a virtual disk has 62 TB at most',
  },
  checks: [vmdkForVmware, ovaArchive(vmdkForVmware, ['virtualbox-'])],
};
