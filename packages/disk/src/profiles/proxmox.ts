import type { Consumer } from './profile.ts';
import { qcow2FormsOfQemu } from './qemu.ts';

/** Proxmox VE: `qm disk import`, and its storage for imports, take these three, by QEMU's tools. */
export const proxmox: Consumer = {
  name: 'proxmox',
  title: 'Proxmox VE',
  forms: [
    ...qcow2FormsOfQemu,
    { format: 'raw', options: {}, compressions: ['none'] },
    {
      format: 'vmdk',
      options: { subformat: ['monolithicSparse', 'streamOptimized'], adapter_type: 'any', tables: 'any' },
      compressions: ['none', 'zlib'],
    },
  ],
  checks: async () => (await import('./checks/proxmox.ts')).checks,
};
