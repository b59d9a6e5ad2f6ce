import type { Consumer } from './profile.ts';
import { qcow2ForQemu, rawForQemu, vmdkForQemu } from './qemu.ts';

/** Proxmox VE: `qm disk import`, and its storage for imports, take these three, by QEMU's tools. */
export const proxmox: Consumer = {
  name: 'proxmox',
  title: 'Proxmox VE',
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
  ],
  checks: [qcow2ForQemu, rawForQemu, vmdkForQemu],
};
