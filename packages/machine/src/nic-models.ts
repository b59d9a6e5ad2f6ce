import type { NicModel } from './model.ts';

/** All of them. */
export const nicModels: readonly NicModel[] = ['virtio', 'e1000', 'e1000e', 'rtl8139', 'vmxnet3', 'pcnet'];
