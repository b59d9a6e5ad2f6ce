/** One way to write a disk: every subformat and every kind of data that a format has. */
export interface Form {
  readonly name: string;
  readonly format: string;
  readonly options?: Record<string, string>;
  readonly compression?: 'zlib' | 'zstd';
  /** qemu-img's name of the format; absent where it does not read this form. */
  readonly qemuFormat?: string;
  /** How qemu-img writes it; absent where it does not. */
  readonly qemuArguments?: readonly string[];
  /** `qemu-img check` knows the format. */
  readonly checked?: boolean;
  /** A program of others that reads the headers and ends with 0. */
  readonly peer?: readonly string[];
  /** The most that the form holds, in bytes, where that is less than 3 TiB. */
  readonly limitBytes?: number;
}

const qcow2 = { format: 'qcow2', qemuFormat: 'qcow2', checked: true } as const;
const vmdk = { format: 'vmdk', qemuFormat: 'vmdk' } as const;
const vhd = { format: 'vhd', qemuFormat: 'vpc', peer: ['vhdiinfo'] } as const;
const vhdx = { format: 'vhdx', qemuFormat: 'vhdx', checked: true, peer: ['vhdiinfo'] } as const;

/** 1000 extents of 2047 MiB. */
const SPLIT_BYTES_MAX: number = 1000 * 2047 * 2 ** 20;

export const forms: readonly Form[] = [
  { name: 'raw', format: 'raw', qemuFormat: 'raw', qemuArguments: [] },
  { name: 'qcow', format: 'qcow', qemuFormat: 'qcow', qemuArguments: [], peer: ['qcowinfo'] },
  { ...qcow2, name: 'qcow2', qemuArguments: [], peer: ['qcowinfo'] },
  { ...qcow2, name: 'qcow2 version 2', qemuArguments: ['-o', 'compat=0.10'], options: { compat: '0.10' } },
  {
    ...qcow2,
    name: 'qcow2 in clusters of 2 MiB',
    qemuArguments: ['-o', 'cluster_size=2M'],
    options: { cluster_size: '2097152' },
  },
  {
    ...qcow2,
    name: 'qcow2 with subclusters',
    qemuArguments: ['-o', 'extended_l2=on'],
    options: { extended_l2: 'on' },
  },
  { ...qcow2, name: 'qcow2 zlib', qemuArguments: ['-c'], compression: 'zlib' },
  { ...qcow2, name: 'qcow2 zlib, small window', compression: 'zlib', options: { deflate_window: '12' } },
  { ...qcow2, name: 'qcow2 zstd', qemuArguments: ['-c', '-o', 'compression_type=zstd'], compression: 'zstd' },
  { ...vmdk, name: 'VMDK', qemuArguments: [], checked: true, peer: ['vmdkinfo'] },
  {
    ...vmdk,
    name: 'VMDK streamOptimized',
    qemuArguments: ['-o', 'subformat=streamOptimized'],
    options: { subformat: 'streamOptimized' },
    checked: true,
  },
  {
    ...vmdk,
    name: 'VMDK streamOptimized, tables in front',
    options: { subformat: 'streamOptimized', tables: 'front' },
    checked: true,
  },
  {
    ...vmdk,
    name: 'VMDK monolithicFlat',
    qemuArguments: ['-o', 'subformat=monolithicFlat'],
    options: { subformat: 'monolithicFlat' },
    peer: ['vmdkinfo'],
  },
  {
    ...vmdk,
    name: 'VMDK twoGbMaxExtentSparse',
    qemuArguments: ['-o', 'subformat=twoGbMaxExtentSparse'],
    options: { subformat: 'twoGbMaxExtentSparse' },
    peer: ['vmdkinfo'],
    limitBytes: SPLIT_BYTES_MAX,
  },
  {
    ...vmdk,
    name: 'VMDK twoGbMaxExtentFlat',
    qemuArguments: ['-o', 'subformat=twoGbMaxExtentFlat'],
    options: { subformat: 'twoGbMaxExtentFlat' },
    peer: ['vmdkinfo'],
    limitBytes: SPLIT_BYTES_MAX,
  },
  { ...vmdk, name: 'VMDK vmfs', options: { subformat: 'vmfs' }, peer: ['vmdkinfo'] },
  { name: 'VDI', format: 'vdi', qemuFormat: 'vdi', qemuArguments: [], checked: true },
  {
    name: 'VDI fixed',
    format: 'vdi',
    qemuFormat: 'vdi',
    qemuArguments: ['-o', 'static=on'],
    options: { subformat: 'fixed' },
    checked: true,
  },
  { ...vhd, name: 'VHD', qemuArguments: ['-o', 'force_size=on'], limitBytes: 2040 * 2 ** 30 },
  {
    ...vhd,
    name: 'VHD fixed',
    qemuArguments: ['-o', 'subformat=fixed,force_size=on'],
    options: { subformat: 'fixed' },
  },
  { ...vhdx, name: 'VHDX', qemuArguments: [] },
  {
    ...vhdx,
    name: 'VHDX fixed',
    qemuArguments: ['-o', 'subformat=fixed'],
    options: { subformat: 'fixed' },
  },
  { name: 'ZVHD', format: 'zvhd' },
  { name: 'ZVHD2', format: 'zvhd2' },
  { name: 'ZVHD2 zlib', format: 'zvhd2', options: { compression: 'zlib' } },
  { name: 'OVA', format: 'ova', peer: ['tar', '--list', '--file'] },
  { name: '.oci', format: 'oci', peer: ['tar', '--list', '--file'] },
];
