import { type Consumer, type FormatCheck, formatCheck } from './profile.ts';
import * as qcow2 from './rules/qcow2.ts';
import * as raw from './rules/raw.ts';
import * as vdi from './rules/vdi.ts';
import * as vhd from './rules/vhd.ts';
import * as vmdk from './rules/vmdk.ts';
import { vmdkFacts } from './rules/vmdk-facts.ts';

const IMPORT = 'OpenStack Glance and Nova, oslo.utils format_inspector: no other file is opened';

/** What QEMU reads as the disk that it is, alone. */
export const qcow2ForQemu: FormatCheck = formatCheck('qcow2', qcow2.qcow2Facts, [
  { origin: IMPORT, rules: [qcow2.standsAlone] },
  { origin: 'QEMU, docs/interop/qcow2.txt', rules: [qcow2.notDirty] },
]);
export const vmdkForQemu: FormatCheck = formatCheck('vmdk', vmdkFacts, [
  {
    origin: `${IMPORT}; of VMDK, monolithicSparse and streamOptimized`,
    rules: [vmdk.oneSparseFile, vmdk.noParent],
  },
]);
export const rawForQemu: FormatCheck = formatCheck('raw', raw.rawFacts, [
  { origin: 'QEMU rounds other lengths up', rules: [raw.wholeSectors] },
]);

/** KVM hosts, libvirt, OpenStack. */
export const qemu: Consumer = {
  name: 'qemu',
  title: 'QEMU, KVM, libvirt, OpenStack',
  forms: [
    {
      format: 'qcow2',
      options: { compat: ['1.1', '0.10'], cluster_size: 'any' },
      compressions: ['none', 'zlib', 'zstd'],
    },
    { format: 'raw', options: {}, compressions: ['none'] },
    {
      format: 'vmdk',
      options: { subformat: ['monolithicSparse', 'streamOptimized'], adapter_type: 'any', tables: 'any' },
      compressions: ['none', 'zlib'],
    },
    { format: 'vdi', options: { subformat: ['dynamic', 'fixed'] }, compressions: ['none'] },
    {
      format: 'vhd',
      options: { subformat: ['dynamic', 'fixed'], size_alignment: 'any' },
      compressions: ['none'],
    },
  ],
  checks: [
    qcow2ForQemu,
    rawForQemu,
    vmdkForQemu,
    formatCheck('vdi', vdi.vdiFacts, [
      { origin: 'QEMU, block/vdi.c', rules: [vdi.usualBlocks, vdi.noParent, vdi.wholeSectors] },
    ]),
    formatCheck('vhd', vhd.vhdFacts, [
      { origin: 'QEMU, block/vpc.c', rules: [vhd.oneSize, vhd.noParent, vhd.wholeSectors] },
    ]),
  ],
};
