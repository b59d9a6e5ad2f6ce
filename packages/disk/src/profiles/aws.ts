import { TIB } from '../bytes/numbers.ts';
import type { Consumer } from './profile.ts';

/**
 * EC2's VM import. Of what it takes, a streamOptimized VMDK is the least to upload: zeros are left out and the
 * rest is compressed. A raw disk goes up whole.
 */
export const aws: Consumer = {
  name: 'aws',
  title: 'Amazon EC2 (VM Import)',
  forms: [
    {
      format: 'vmdk',
      options: {
        subformat: ['streamOptimized'],
        adapter_type: ['lsilogic', 'ide', 'buslogic'],
        tables: ['end', 'front'],
      },
      compressions: ['none', 'zlib'],
    },
    { format: 'raw', options: {}, compressions: ['none'] },
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
    {
      format: 'ova',
      options: { name: 'any', cpus: 'any', memory_mib: 'any', firmware: 'any', os: 'any' },
      compressions: ['none', 'zlib'],
    },
  ],
  limits: { maximumBytes: 16 * TIB, origin: 'Amazon EBS: a volume of most types has 16 TiB at most' },
  checks: async () => (await import('./checks/aws.ts')).checks,
};
