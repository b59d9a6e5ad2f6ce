import { type ByteSource, readStructure } from '@gantry/disk';
import type { Budget } from '../budget.ts';
import { Fields } from '../fields.ts';
import type { Findings } from '../findings.ts';
import { lvmLabelSector } from '../volumes/lvm.ts';
import { EXT_MAGIC, EXT_SUPERBLOCK_BYTES, recogniseExt } from './ext.ts';
import { recogniseFat } from './fat.ts';
import type { RecognisedFileSystem } from './file-system.ts';
import { recogniseNtfs } from './ntfs.ts';
import { recogniseXfs, XFS_MAGIC, XFS_SUPERBLOCK_BYTES } from './xfs.ts';

const KIB = 1024;
/** The furthest mark of those below that stands at the front, ZFS's, and what it needs. */
const HEAD_BYTES: number = 160 * KIB;
const SECTOR_BYTES = 512;

/** What is known by a mark at a fixed place, and not read. */
const marks: readonly (readonly [kind: string, offset: number, mark: string])[] = [
  ['exfat', 3, 'EXFAT   '],
  ['refs', 3, 'ReFS\0'],
  ['btrfs', 64 * KIB + 64, '_BHRfS_M'],
  ['f2fs', 1024, '\x10\x20\xf5\xf2'],
  ['erofs', 1024, '\xe2\xe1\xf5\xe0'],
  ['apfs', 32, 'NXSB'],
  ['hfs+', 1024, 'H+'],
  ['hfs+', 1024, 'HX'],
  ['squashfs', 0, 'hsqs'],
  ['ufs2', 64 * KIB + 1372, '\x19\x01\x54\x19'],
  ['bcachefs', 4096 + 24, '\xc6\x85\x73\xf6\x4e\x1a\x45\xca'],
  ['linux-raid', 4096, '\xfc\x4e\x2b\xa9'],
  ['iso9660', 32 * KIB + 1, 'CD001'],
  ['linux-raid', 0, '\xfc\x4e\x2b\xa9'],
];

const pageSizes = [4, 8, 16, 32, 64].map((kib) => kib * KIB);

/** What a volume holds, by its marks; undefined where nothing is known. */
export async function recogniseFileSystem(
  volume: ByteSource,
  budget: Budget,
  where: string,
  findings: Findings,
): Promise<RecognisedFileSystem | undefined> {
  const lengthBytes = Math.min(HEAD_BYTES, volume.lengthBytes);
  if (lengthBytes < SECTOR_BYTES) return undefined;
  const head = new Fields(await readStructure(volume, 0, lengthBytes, where), where);
  const encrypted = encryption(head);
  if (encrypted !== undefined) return encrypted;
  if (lvmLabelSector(head.fields(0, Math.min(lengthBytes, 4 * SECTOR_BYTES))) !== undefined)
    return { kind: 'lvm2' };
  if (head.has(0, XFS_MAGIC)) {
    const superblock = new Fields(head.part(0, XFS_SUPERBLOCK_BYTES), 'XFS superblock', 'big');
    return recogniseXfs(volume, superblock, budget, where, findings);
  }
  if (head.has(3, 'NTFS    ')) {
    return recogniseNtfs(volume, head.fields(0, SECTOR_BYTES, 'NTFS boot sector'), budget, where, findings);
  }
  const marked = marks.find(([, offset, mark]) => head.has(offset, mark));
  if (marked !== undefined) return { kind: marked[0] };
  if (lengthBytes >= 2 * EXT_SUPERBLOCK_BYTES && head.u16(EXT_SUPERBLOCK_BYTES + 56) === EXT_MAGIC) {
    const superblock = head.fields(EXT_SUPERBLOCK_BYTES, EXT_SUPERBLOCK_BYTES, 'ext superblock');
    return recogniseExt(volume, superblock, budget, where, findings);
  }
  if (pageSizes.some((page) => head.has(page - 10, 'SWAPSPACE2') || head.has(page - 10, 'SWAP-SPACE')))
    return swap(head);
  if (isZfs(head)) return { kind: 'zfs' };
  return recogniseFat(volume, head.fields(0, SECTOR_BYTES, 'FAT boot sector'), budget);
}

function encryption(head: Fields): RecognisedFileSystem | undefined {
  if (head.has(0, 'LUKS\xba\xbe')) {
    // A UUID of 40 characters stands at the same place in both versions.
    return { kind: `luks${head.u8(7) === 2 ? 2 : 1}`, uuid: head.utf8(168, 40), isEncrypted: true };
  }
  return head.has(3, '-FVE-FS-') ? { kind: 'bitlocker', isEncrypted: true } : undefined;
}

function swap(head: Fields): RecognisedFileSystem {
  const label = head.utf8(1052, 16);
  return { kind: 'swap', uuid: head.uuid(1036), ...(label !== '' && { label }) };
}

/** An uberblock in the first label, in either byte order. */
function isZfs(head: Fields): boolean {
  for (let at = 128 * KIB; at + 8 <= head.lengthBytes; at += KIB) {
    if (head.has(at, '\x0c\xb1\xba\0\0\0\0\0') || head.has(at, '\0\0\0\0\0\xba\xb1\x0c')) return true;
  }
  return false;
}
