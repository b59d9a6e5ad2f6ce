import { MIB, TIB } from '../bytes/numbers.ts';
import type { Consumer } from './profile.ts';

/** A managed disk takes a fixed VHD and nothing else: a page blob of the disk and its footer. */
export const azure: Consumer = {
  name: 'azure',
  title: 'Microsoft Azure',
  forms: [
    {
      format: 'vhd',
      options: { subformat: ['fixed'], size_alignment: ['1M'] },
      compressions: ['none'],
    },
  ],
  limits: {
    minimumBytes: 20 * MIB,
    maximumBytes: 32 * TIB,
    origin: 'Azure, managed disks: uploadSizeBytes is between 20 MiB and 32 TiB, and 512 bytes',
  },
  checks: async () => (await import('./checks/azure.ts')).checks,
};
