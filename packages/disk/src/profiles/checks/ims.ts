import { type FormatCheck, formatCheck } from '../profile.ts';
import { diskFacts } from '../rules/disk.ts';
import * as qcow2 from '../rules/qcow2.ts';
import * as raw from '../rules/raw.ts';
import * as vdi from '../rules/vdi.ts';
import * as vhd from '../rules/vhd.ts';
import * as vhdx from '../rules/vhdx.ts';
import * as vmdk from '../rules/vmdk.ts';
import { vmdkFacts } from '../rules/vmdk-facts.ts';

const FORMATS = 'Huawei IMS, "External Image File Formats and Supported OSs"';

const QEMU = 'Huawei IMS converts with QEMU (huaweicloud/ims-qemu-img)';

export const checks: readonly FormatCheck[] = [
  formatCheck('qcow2', qcow2.qcow2Facts, [
    { origin: FORMATS, rules: [qcow2.standsAlone, qcow2.noSnapshots] },
    { origin: `${QEMU}, of a version before zstd`, rules: [qcow2.noIncompatibleFeatures] },
  ]),
  formatCheck('vmdk', vmdkFacts, [{ origin: FORMATS, rules: [vmdk.oneSparseFile, vmdk.noParent] }]),
  formatCheck('vhd', vhd.vhdFacts, [
    { origin: FORMATS, rules: [vhd.footerAtEnd, vhd.noParent] },
    { origin: QEMU, rules: [vhd.oneSize] },
  ]),
  formatCheck('vdi', vdi.vdiFacts, [{ origin: QEMU, rules: [vdi.usualBlocks, vdi.noParent] }]),
  formatCheck('vhdx', vhdx.vhdxFacts, [
    { origin: QEMU, rules: [vhdx.emptyLog, vhdx.noParent, vhdx.smallSectors] },
  ]),
  ...['zvhd2', 'zvhd', 'qcow'].map((format) => formatCheck(format, diskFacts(format), [])),
  formatCheck('raw', raw.rawFacts, [{ origin: FORMATS, rules: [raw.wholeSectors] }]),
];
