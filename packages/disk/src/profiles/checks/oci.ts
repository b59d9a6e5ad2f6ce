import { type FormatCheck, formatCheck } from '../profile.ts';
import { ociArchive } from '../rules/archive.ts';
import * as qcow2 from '../rules/qcow2.ts';
import * as vmdk from '../rules/vmdk.ts';
import { vmdkFacts } from '../rules/vmdk-facts.ts';

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

export const checks: readonly FormatCheck[] = [
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
];
