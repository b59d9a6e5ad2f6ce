import { type Consumer, formatCheck } from './profile.ts';
import * as qcow2 from './rules/qcow2.ts';
import * as vdi from './rules/vdi.ts';
import * as vhd from './rules/vhd.ts';
import * as vmdk from './rules/vmdk.ts';
import { vmdkFacts } from './rules/vmdk-facts.ts';

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
    formatCheck('vmdk', vmdkFacts, [
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
    ]),
    formatCheck('vhd', vhd.vhdFacts, [
      {
        origin: 'VirtualBox, src/VBox/Storage/VHD.cpp',
        rules: [vhd.footerAtEnd, vhd.noParent, vhd.wholeSectors],
      },
    ]),
    formatCheck('qcow2', qcow2.qcow2Facts, [
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
    ]),
  ],
};
