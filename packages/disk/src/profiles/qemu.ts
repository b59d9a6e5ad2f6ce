import type { Consumer, ConsumerForm } from './profile.ts';

/** All that QEMU's own writer makes and that stands alone. */
export const qcow2FormsOfQemu: readonly ConsumerForm[] = [
  {
    format: 'qcow2',
    options: { compat: ['1.1', '0.10'], cluster_size: 'any', extended_l2: 'any' },
    compressions: ['none'],
  },
  {
    format: 'qcow2',
    options: { compat: ['1.1', '0.10'], cluster_size: 'any', deflate_window: 'any' },
    compressions: ['zlib', 'zstd'],
  },
];

/** KVM hosts, libvirt, OpenStack. */
export const qemu: Consumer = {
  name: 'qemu',
  title: 'QEMU, KVM, libvirt, OpenStack',
  forms: [
    ...qcow2FormsOfQemu,
    { format: 'raw', options: {}, compressions: ['none'] },
    {
      format: 'vmdk',
      options: { subformat: ['monolithicSparse', 'streamOptimized'], adapter_type: 'any', tables: 'any' },
      compressions: ['none', 'zlib'],
    },
    { format: 'vdi', options: { subformat: ['dynamic', 'fixed'] }, compressions: ['none'] },
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
  ],
  checks: async () => (await import('./checks/qemu.ts')).checks,
};
