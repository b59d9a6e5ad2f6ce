import { GIB } from '../bytes/numbers.ts';
import { type Consumer, type FormatCheck, formatCheck } from './profile.ts';
import { ociArchive } from './rules/archive.ts';
import * as qcow2 from './rules/qcow2.ts';
import * as vmdk from './rules/vmdk.ts';
import { vmdkFacts } from './rules/vmdk-facts.ts';

const qcow2ForOci: FormatCheck = formatCheck('qcow2', qcow2.qcow2Facts, [
  {
    origin: 'Oracle, "Importing Custom Linux Images": one file, made by cloning and not by a snapshot',
    rules: [qcow2.standsAlone, qcow2.noSnapshots],
  },
  {
    origin: 'Oracle names no feature of newer QEMU; VirtualBox, which opens its archives, refuses them',
    rules: [qcow2.noIncompatibleFeatures],
  },
]);

/**
 * Oracle Cloud's import of custom images. QCOW2 is what its own archives hold; it is written uncompressed, since
 * nothing that Oracle publishes says that compressed clusters are taken.
 */
export const oci: Consumer = {
  name: 'oci',
  title: 'Oracle Cloud Infrastructure',
  forms: [
    {
      format: 'qcow2',
      options: { compat: ['1.1', '0.10'], cluster_size: 'any' },
      compressions: ['none'],
    },
    {
      format: 'oci',
      options: { firmware: 'any', launch_mode: 'any', os: 'any', os_version: 'any' },
      compressions: ['none'],
    },
    {
      format: 'vmdk',
      options: {
        subformat: ['monolithicSparse', 'streamOptimized'],
        adapter_type: ['lsilogic', 'ide', 'buslogic'],
        tables: 'any',
      },
      compressions: ['none', 'zlib'],
    },
  ],
  limits: { maximumBytes: 400 * GIB, origin: 'Oracle, "Importing Custom Linux Images": 400 GB at most' },
  checks: [
    qcow2ForOci,
    ociArchive(qcow2ForOci),
    formatCheck('vmdk', vmdkFacts, [
      {
        origin: 'Oracle, "Importing Custom Linux Images": single growable or stream optimized VMDK',
        rules: [vmdk.oneSparseFile, vmdk.noParent, vmdk.versionOneOrThree],
      },
      {
        origin: 'VMware, vmware/open-vmdk: what a stream is',
        rules: [vmdk.usualGrains, vmdk.streamEnd],
      },
    ]),
  ],
};
