import type { Consumer } from './profile.ts';

/** VHDX for machines of both generations, VHD for the first. */
export const hyperV: Consumer = {
  name: 'hyper-v',
  title: 'Microsoft Hyper-V',
  forms: [
    {
      format: 'vhdx',
      options: { subformat: ['dynamic', 'fixed'], block_size: 'any', logical_sector_size: ['512', '4096'] },
      compressions: ['none'],
    },
    {
      format: 'vhd',
      options: { subformat: ['dynamic', 'fixed'], size_alignment: 'any' },
      compressions: ['none'],
    },
  ],
  checks: async () => (await import('./checks/hyper-v.ts')).checks,
};
