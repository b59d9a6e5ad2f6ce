import type { Consumer } from './profile.ts';

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
      compressions: ['none'],
    },
    {
      format: 'qcow2',
      options: { compat: ['1.1', '0.10'], cluster_size: 'any', deflate_window: ['12', '15'] },
      compressions: ['zlib'],
    },
    {
      format: 'ova',
      options: { name: 'any', cpus: 'any', memory_mib: 'any', firmware: 'any', os: 'any' },
      compressions: ['none', 'zlib'],
    },
  ],
  checks: async () => (await import('./checks/virtualbox.ts')).checks,
};
