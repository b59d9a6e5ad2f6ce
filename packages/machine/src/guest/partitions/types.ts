const mbrTypes: Readonly<Record<number, string>> = {
  1: 'FAT12',
  4: 'FAT16, small',
  5: 'extended',
  6: 'FAT16',
  7: 'NTFS or exFAT',
  11: 'FAT32',
  12: 'FAT32, LBA',
  14: 'FAT16, LBA',
  15: 'extended, LBA',
  39: 'Windows recovery',
  65: 'PowerPC PReP boot',
  130: 'Linux swap',
  131: 'Linux',
  133: 'Linux extended',
  142: 'Linux LVM',
  165: 'FreeBSD',
  166: 'OpenBSD',
  169: 'NetBSD',
  191: 'Solaris',
  238: 'GPT, protective',
  239: 'EFI system',
  253: 'Linux RAID',
};

export const EFI_SYSTEM = 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b';
export const BIOS_BOOT = '21686148-6449-6e6f-744e-656564454649';

const gptTypes: Readonly<Record<string, string>> = {
  [EFI_SYSTEM]: 'EFI system',
  [BIOS_BOOT]: 'BIOS boot',
  '0fc63daf-8483-4772-8e79-3d69d8477de4': 'Linux',
  '0657fd6d-a4ab-43c4-84e5-0933c84b4f4f': 'Linux swap',
  'e6d6d379-f507-44c2-a23c-238f2a3df928': 'Linux LVM',
  'a19d880f-05fc-4d3b-a006-743f0f84911e': 'Linux RAID',
  'bc13c2ff-59e6-4262-a352-b275fd6f7172': 'Linux extended boot',
  '4f68bce3-e8cd-4db1-96e7-fbcaf984b709': 'Linux root, x86-64',
  'b921b045-1df0-41c3-af44-4c6f280d3fae': 'Linux root, arm64',
  '933ac7e1-2eb4-4f13-b844-0e14e2aef915': 'Linux home',
  '8da63339-0007-60c0-c436-083ac8230908': 'Linux reserved',
  'ebd0a0a2-b9e5-4433-87c0-68b6b72699c7': 'Microsoft basic data',
  'e3c9e316-0b5c-4db8-817d-f92df00215ae': 'Microsoft reserved',
  'de94bba4-06d1-4d40-a16a-bfd50179d6ac': 'Windows recovery',
  '5808c8aa-7e8f-42e0-85d2-e1e90434cfb3': 'Windows dynamic disk metadata',
  'af9b60a0-1431-4f62-bc68-3311714a69ad': 'Windows dynamic disk data',
  '83bd6b9d-7f41-11dc-be0b-001560b84f0f': 'FreeBSD boot',
  '516e7cb6-6ecf-11d6-8ff8-00022d09712b': 'FreeBSD UFS',
  '516e7cba-6ecf-11d6-8ff8-00022d09712b': 'FreeBSD ZFS',
  '516e7cb5-6ecf-11d6-8ff8-00022d09712b': 'FreeBSD swap',
  '9e1a2d38-c612-4316-aa26-8b49521e5a8b': 'PowerPC PReP boot',
  '7c3457ef-0000-11aa-aa11-00306543ecac': 'Apple APFS',
  '48465300-0000-11aa-aa11-00306543ecac': 'Apple HFS+',
};

export function mbrTypeName(type: number): string | undefined {
  return mbrTypes[type];
}

export function gptTypeName(type: string): string | undefined {
  return gptTypes[type];
}

/** 5 and 15 of DOS, 0x85 of Linux: a partition that holds a chain of others. */
export function isExtended(type: number): boolean {
  return type === 5 || type === 15 || type === 133;
}
