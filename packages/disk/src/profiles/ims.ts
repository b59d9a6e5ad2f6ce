import { GIB, TIB } from '../bytes/numbers.ts';
import type { Consumer } from './profile.ts';

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
  checks: async () => (await import('./checks/ims.ts')).checks,
};
