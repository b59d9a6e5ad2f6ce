import { type Consumer, type FormatCheck, formatCheck } from './profile.ts';
import { ociArchive, ovaArchive } from './rules/archive.ts';
import * as qcow2 from './rules/qcow2.ts';
import * as vdi from './rules/vdi.ts';
import * as vhd from './rules/vhd.ts';
import * as vhdx from './rules/vhdx.ts';
import * as vmdk from './rules/vmdk.ts';
import { vmdkFacts } from './rules/vmdk-facts.ts';

const vmdkForVirtualBox: FormatCheck = formatCheck('vmdk', vmdkFacts, [
  {
    origin: 'VirtualBox, src/VBox/Storage/VMDK.cpp',
    rules: [
      vmdk.oneSparseFile,
      vmdk.noParent,
      vmdk.versionOneOrThree,
      vmdk.plainDescriptor,
      vmdk.ownUuids,
      vmdk.equalDirectories,
      vmdk.streamEnd,
      vmdk.orderedGrains,
      vmdk.shortRecords,
      vmdk.wholeLastGrain,
    ],
  },
]);

const qcow2ForVirtualBox: FormatCheck = formatCheck('qcow2', qcow2.qcow2Facts, [
  {
    origin: 'VirtualBox, src/VBox/Storage/QCOW.cpp',
    rules: [
      qcow2.standsAlone,
      qcow2.noSnapshots,
      qcow2.noIncompatibleFeatures,
      qcow2.noZeroFlags,
      qcow2.wholeTables,
      qcow2.wholeSectorsOfData,
    ],
  },
]);

/** The only consumer whose reader of every format is open source: its rules are what the code does. */
export const virtualbox: Consumer = {
  name: 'virtualbox',
  title: 'VirtualBox',
  forms: [
    { format: 'vdi', options: { subformat: ['dynamic', 'fixed'] }, compressions: ['none'] },
    {
      format: 'vmdk',
      options: {
        subformat: ['monolithicSparse', 'streamOptimized'],
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
      format: 'qcow2',
      options: { compat: ['1.1', '0.10'], cluster_size: 'any' },
      compressions: ['none'],
    },
    {
      format: 'qcow2',
      options: { compat: ['1.1', '0.10'], cluster_size: 'any', deflate_window: ['12', '15'] },
      compressions: ['zlib'],
    },
    {
      format: 'ova',
      options: { name: 'any', cpus: 'any', memory_mib: 'any', firmware: 'any', os: 'any' },
      compressions: ['none', 'zlib'],
    },
  ],
  checks: [
    formatCheck('vdi', vdi.vdiFacts, [
      {
        origin: 'VirtualBox, src/VBox/Storage/VDI.cpp',
        rules: [vdi.ownUuids, vdi.noParent, vdi.wholeSectors, vdi.usualGeometry],
      },
    ]),
    vmdkForVirtualBox,
    ovaArchive(vmdkForVirtualBox),
    formatCheck('vhd', vhd.vhdFacts, [
      {
        origin: 'VirtualBox, src/VBox/Storage/VHD.cpp',
        rules: [vhd.footerAtEnd, vhd.noParent, vhd.wholeSectors],
      },
    ]),
    qcow2ForVirtualBox,
    ociArchive(qcow2ForVirtualBox),
    // Its reader of VHDX never writes: a disk to start a machine from is not made so.
    formatCheck('vhdx', vhdx.vhdxFacts, [
      {
        origin: 'VirtualBox, src/VBox/Storage/VHDX.cpp',
        rules: [vhdx.emptyLog, vhdx.noParent, vhdx.wholeSectors],
      },
    ]),
  ],
};
