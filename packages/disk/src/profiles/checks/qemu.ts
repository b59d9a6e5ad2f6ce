import { type FormatCheck, formatCheck } from '../profile.ts';
import * as qcow2 from '../rules/qcow2.ts';
import * as raw from '../rules/raw.ts';
import * as vdi from '../rules/vdi.ts';
import * as vhd from '../rules/vhd.ts';
import * as vhdx from '../rules/vhdx.ts';
import * as vmdk from '../rules/vmdk.ts';
import { vmdkFacts } from '../rules/vmdk-facts.ts';

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

export const checks: readonly FormatCheck[] = [
  qcow2ForQemu,
  rawForQemu,
  vmdkForQemu,
  formatCheck('vdi', vdi.vdiFacts, [
    { origin: 'QEMU, block/vdi.c', rules: [vdi.usualBlocks, vdi.noParent, vdi.wholeSectors] },
  ]),
  formatCheck('vhd', vhd.vhdFacts, [
    { origin: 'QEMU, block/vpc.c', rules: [vhd.oneSize, vhd.noParent, vhd.wholeSectors] },
  ]),
  formatCheck('vhdx', vhdx.vhdxFacts, [
    {
      origin: 'QEMU, block/vhdx.c: no log to replay for a reader, no parent',
      rules: [vhdx.emptyLog, vhdx.noParent, vhdx.wholeSectors, vhdx.smallSectors],
    },
  ]),
];
