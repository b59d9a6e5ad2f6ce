import { GIB } from '../bytes/numbers.ts';
import type { Consumer } from './profile.ts';

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
      options: { firmware: 'any', launch_mode: 'any', os: 'any', os_version: 'any', metadata: 'any' },
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
  checks: async () => (await import('./checks/oci.ts')).checks,
};
