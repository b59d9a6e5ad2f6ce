import { type FormatCheck, formatCheck } from '../profile.ts';
import { ociArchive, ovaArchive } from '../rules/archive.ts';
import * as qcow2 from '../rules/qcow2.ts';
import * as vdi from '../rules/vdi.ts';
import * as vhd from '../rules/vhd.ts';
import * as vhdx from '../rules/vhdx.ts';
import * as vmdk from '../rules/vmdk.ts';
import { vmdkFacts } from '../rules/vmdk-facts.ts';

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

export const checks: readonly FormatCheck[] = [
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
];
