import { GIB, TIB } from '../bytes/numbers.ts';
import { type Consumer, formatCheck } from './profile.ts';
import { diskFacts } from './rules/disk.ts';
import * as qcow2 from './rules/qcow2.ts';
import * as raw from './rules/raw.ts';
import * as vdi from './rules/vdi.ts';
import * as vhd from './rules/vhd.ts';
import * as vhdx from './rules/vhdx.ts';
import * as vmdk from './rules/vmdk.ts';
import { vmdkFacts } from './rules/vmdk-facts.ts';

const FORMATS = 'Huawei IMS, "External Image File Formats and Supported OSs"';
const QEMU = 'Huawei IMS converts with QEMU (huaweicloud/ims-qemu-img)';

/**
 * Image Management Service of Huawei Cloud and Open Telekom Cloud. Its ordinary import, which also puts drivers
 * into the guest, takes files up to 128 GB: a qcow2 with zlib is the shortest that every region takes. ZVHD2, for
 * the fast import of up to 1 TB, is to be asked for: what is known of it is Huawei's driver of 2018.
 */
export const ims: Consumer = {
  name: 'ims',
  title: 'Huawei Cloud and Open Telekom Cloud (IMS)',
  forms: [
    {
      format: 'qcow2',
      options: { compat: ['1.1', '0.10'], cluster_size: 'any', deflate_window: ['12', '15'] },
      compressions: ['zlib'],
    },
    {
      format: 'qcow2',
      options: { compat: ['1.1', '0.10'], cluster_size: 'any' },
      compressions: ['none'],
    },
    { format: 'zvhd2', options: { compression: ['zstd', 'zlib'] }, compressions: ['none'] },
    { format: 'zvhd', options: {}, compressions: ['none', 'zlib'] },
    {
      format: 'vmdk',
      options: {
        subformat: ['streamOptimized', 'monolithicSparse'],
        adapter_type: ['lsilogic', 'ide', 'buslogic'],
        tables: 'any',
      },
      compressions: ['none', 'zlib'],
    },
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
    { format: 'vdi', options: { subformat: ['dynamic', 'fixed'] }, compressions: ['none'] },
    { format: 'raw', options: {}, compressions: ['none'] },
  ],
  limits: {
    maximumBytes: 2 * TIB,
    fileMaximumBytes: {
      qcow2: 128 * GIB,
      vmdk: 128 * GIB,
      vhd: 128 * GIB,
      vhdx: 128 * GIB,
      vdi: 128 * GIB,
      qcow: 128 * GIB,
      zvhd: 128 * GIB,
      zvhd2: TIB,
      raw: TIB,
    },
    origin: 'Huawei IMS, "Preparing an Image File": 128 GB, by fast import 1 TB; data disks end at 2048 GB',
  },
  checks: [
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
  ],
};
