/** Formats that a descriptor can name and QEMU opens, with the endings of their files. */
export const packedFormats = {
  qcow2: 'qcow2',
  raw: 'raw',
  qcow: 'qcow',
  vmdk: 'vmdk',
  vdi: 'vdi',
  vhd: 'vhd',
  vhdx: 'vhdx',
} as const;
