import { type ByteSource, memorySource, readStructure } from '@gantry/disk';
import type { Budget } from '../budget.ts';
import { Fields, malformed, notRead, tooMany, utf8Text } from '../fields.ts';
import type { Findings } from '../findings.ts';
import { DIRECTORY_BYTES_MAX, DIRECTORY_ENTRY_COUNT_MAX, PATH_BYTES_MAX, TREE_DEPTH_MAX } from '../limits.ts';
import type { DirectoryEntry, FileSystem, GuestNode, NodeKind, RecognisedFileSystem } from './file-system.ts';
import { Runs, wholeOf } from './runs.ts';

/** Linux, Documentation/filesystems/ext4: s_feature_incompat. */
const incompat = {
  recover: 0x4,
  journalDevice: 0x8,
  metaBg: 0x10,
  extents: 0x40,
  is64Bit: 0x80,
  inlineData: 0x8000,
};
/** FILETYPE, RECOVER, META_BG, EXTENTS, 64BIT, MMP, FLEX_BG, EA_INODE, CSUM_SEED, LARGEDIR, INLINE_DATA, ENCRYPT, CASEFOLD. */
const KNOWN_INCOMPAT =
  0x2 + 0x4 + 0x10 + 0x40 + 0x80 + 0x100 + 0x200 + 0x400 + 0x2000 + 0x4000 + 0x8000 + 0x10000 + 0x20000;
const COMPAT_HAS_JOURNAL = 0x4;
const COMPAT_SPARSE_SUPER2 = 0x200;
const RO_COMPAT_SPARSE_SUPER = 0x1;

const INODE_EXTENTS = 0x80000;
const INODE_ENCRYPTED = 0x800;
const INODE_INLINE_DATA = 0x10000000;
/** ext4_extent: above it the extent is allocated and not written. */
const INITIALISED_LENGTH_MAX = 32768;
const ROOT_INODE = 2;

export const EXT_MAGIC = 0xef53;
export const EXT_SUPERBLOCK_BYTES = 1024;

interface Geometry {
  readonly blockBytes: number;
  readonly inodeBytes: number;
  readonly inodesPerGroup: number;
  readonly inodeCount: number;
  readonly blocksPerGroup: number;
  readonly firstDataBlock: number;
  readonly descriptorBytes: number;
  readonly incompat: number;
  readonly hasSuperblock: (group: number) => boolean;
  readonly firstMetaBg: number;
}

/** ext2, ext3 or ext4 by its superblock (the 1024 bytes at 1024). The journal is not replayed: a finding says when it should be. */
export function recogniseExt(
  volume: ByteSource,
  superblock: Fields,
  budget: Budget,
  where: string,
  findings: Findings,
): RecognisedFileSystem {
  const features = superblock.u32(96);
  const label = superblock.utf8(120, 16);
  const hasJournal = (superblock.u32(92) & COMPAT_HAS_JOURNAL) !== 0;
  const isExt4 = (features & (incompat.extents + incompat.is64Bit)) !== 0 || superblock.u16(254) > 32;
  return {
    kind: isExt4 ? 'ext4' : hasJournal ? 'ext3' : 'ext2',
    uuid: superblock.uuid(104),
    ...(label !== '' && { label }),
    async open() {
      if ((features & incompat.recover) !== 0) {
        findings.add({
          severity: 'warning',
          code: 'JOURNAL_NOT_REPLAYED',
          where,
          message: 'the file system was not unmounted: its journal holds changes that were not looked at',
          hint: 'what was changed last may be missing below; a clean shutdown of the machine before it is copied avoids that',
        });
      }
      return new Ext(volume, geometryOf(superblock), budget);
    },
  };
}

function geometryOf(superblock: Fields): Geometry {
  const features = superblock.u32(96);
  if ((features & ~KNOWN_INCOMPAT) !== 0) {
    const unknown = (features & ~KNOWN_INCOMPAT).toString(16);
    throw notRead('ext superblock', `features 0x${unknown} are not known here`);
  }
  const logBlock = superblock.u32(24);
  if (logBlock > 6) throw superblock.malformed(`blocks of 2^${logBlock + 10} bytes`);
  const isDynamic = superblock.u32(76) > 0;
  const inodeBytes = isDynamic ? superblock.u16(88) : 128;
  const descriptorBytes = (features & incompat.is64Bit) !== 0 ? superblock.u16(254) : 32;
  const geometry: Geometry = {
    blockBytes: 2 ** (10 + logBlock),
    inodeBytes,
    inodesPerGroup: superblock.u32(40),
    inodeCount: superblock.u32(0),
    blocksPerGroup: superblock.u32(32),
    firstDataBlock: superblock.u32(20),
    descriptorBytes,
    incompat: features,
    hasSuperblock: superblocksOf(superblock),
    firstMetaBg: superblock.u32(260),
  };
  const isSound =
    inodeBytes >= 128 &&
    inodeBytes <= geometry.blockBytes &&
    geometry.inodesPerGroup > 0 &&
    geometry.blocksPerGroup > 0 &&
    descriptorBytes >= 32 &&
    descriptorBytes <= 1024;
  if (!isSound) throw superblock.malformed('sizes that no file system has');
  return geometry;
}

/** Which groups begin with a copy of the superblock. */
function superblocksOf(superblock: Fields): (group: number) => boolean {
  if ((superblock.u32(92) & COMPAT_SPARSE_SUPER2) !== 0) {
    const groups = [0, superblock.u32(588), superblock.u32(592)];
    return (group) => groups.includes(group);
  }
  if ((superblock.u32(100) & RO_COMPAT_SPARSE_SUPER) === 0) return () => true;
  const isPower = (group: number, base: number) => {
    let power = base;
    while (power < group) power *= base;
    return power === group;
  };
  return (group) => group <= 1 || [3, 5, 7].some((base) => isPower(group, base));
}

interface Inode {
  readonly fields: Fields;
  readonly kind: NodeKind;
  readonly sizeBytes: number;
  readonly flags: number;
}

/** A place is the inode's number. */
class Ext implements FileSystem {
  readonly root: string = String(ROOT_INODE);
  readonly ignoresCase = false;
  readonly #volume: ByteSource;
  readonly #geometry: Geometry;
  readonly #budget: Budget;

  constructor(volume: ByteSource, geometry: Geometry, budget: Budget) {
    this.#volume = volume;
    this.#geometry = geometry;
    this.#budget = budget;
  }

  async node(place: string): Promise<GuestNode> {
    const { kind, sizeBytes } = await this.#inode(place);
    return { place, kind, sizeBytes };
  }

  async list(directory: GuestNode): Promise<readonly DirectoryEntry[]> {
    const inode = await this.#inode(directory.place);
    requirePlain(inode, `ext directory ${directory.place}`);
    const structure = `ext directory ${directory.place}`;
    const entries: DirectoryEntry[] = [];
    if ((inode.flags & INODE_INLINE_DATA) !== 0) {
      // The first four bytes are the parent's inode; the rest of the inode is a block, and so is the attribute.
      const inside = this.#inlineParts(inode);
      this.#addEntries(entries, new Fields(inside.block.subarray(4), structure));
      this.#addEntries(entries, new Fields(inside.rest, structure));
      return entries;
    }
    const source = await this.#content(inode, DIRECTORY_BYTES_MAX, structure);
    const bytes = await wholeOf(source, DIRECTORY_BYTES_MAX, structure);
    const { blockBytes } = this.#geometry;
    // A hash tree hides its nodes in entries without inodes.
    for (let at = 0; at < bytes.length; at += blockBytes)
      this.#addEntries(entries, new Fields(bytes.subarray(at, at + blockBytes), structure));
    return entries;
  }

  async open(file: GuestNode, limitBytes: number): Promise<ByteSource> {
    const inode = await this.#inode(file.place);
    requirePlain(inode, `ext file, inode ${file.place}`);
    return this.#content(inode, limitBytes, `ext file, inode ${file.place}`);
  }

  async readLink(link: GuestNode): Promise<string> {
    const inode = await this.#inode(link.place);
    const structure = `ext symlink ${link.place}`;
    requirePlain(inode, structure);
    if (inode.sizeBytes < 60 && (inode.flags & (INODE_EXTENTS + INODE_INLINE_DATA)) === 0)
      return utf8Text(inode.fields.part(40, inode.sizeBytes));
    return utf8Text(
      await wholeOf(await this.#content(inode, PATH_BYTES_MAX, structure), PATH_BYTES_MAX, structure),
    );
  }

  #addEntries(entries: DirectoryEntry[], block: Fields): void {
    for (let at = 0; at + 8 <= block.lengthBytes; ) {
      this.#budget.step();
      const inode = block.u32(at);
      const length = block.u16(at + 4);
      if (length === 0 && inode === 0) return;
      // Blocks of 64 KiB and more write what does not fit into 16 bits otherwise.
      const lengthBytes = length === 65535 || length === 0 ? block.lengthBytes - at : length;
      const nameBytes = block.u8(at + 6);
      if (lengthBytes < 8 || at + lengthBytes > block.lengthBytes)
        throw block.malformed('an entry leaves its block');
      if (inode !== 0 && nameBytes > 0) {
        const name = utf8Text(block.part(at + 8, nameBytes));
        if (entries.length >= DIRECTORY_ENTRY_COUNT_MAX)
          throw tooMany('ext directory', DIRECTORY_ENTRY_COUNT_MAX);
        if (name !== '.' && name !== '..') entries.push({ name, place: String(inode) });
      }
      at += lengthBytes;
    }
  }

  async #inode(place: string): Promise<Inode> {
    this.#budget.step();
    const number = Number(place);
    const { inodeCount, inodesPerGroup, inodeBytes, blockBytes } = this.#geometry;
    if (number < 1 || number > inodeCount) throw malformed('ext inode', `there is no inode ${number}`);
    const table = await this.#inodeTable(Math.floor((number - 1) / inodesPerGroup));
    const at = table * blockBytes + ((number - 1) % inodesPerGroup) * inodeBytes;
    const structure = `ext inode ${number}`;
    const fields = new Fields(await readStructure(this.#volume, at, inodeBytes, structure), structure);
    const type = Math.floor(fields.u16(0) / 4096);
    const kind = type === 4 ? 'directory' : type === 8 ? 'file' : type === 10 ? 'symlink' : 'other';
    const sizeBytes = fields.u32(4) + fields.u32(108) * 2 ** 32;
    if (!Number.isSafeInteger(sizeBytes)) throw fields.malformed('its size is above 2^53 - 1');
    return { fields, kind, sizeBytes, flags: fields.u32(32) };
  }

  /** First block of a group's inode table. */
  async #inodeTable(group: number): Promise<number> {
    const { descriptorBytes, blockBytes, firstDataBlock, blocksPerGroup, hasSuperblock, firstMetaBg } =
      this.#geometry;
    const perBlock = Math.floor(blockBytes / descriptorBytes);
    const index = Math.floor(group / perBlock);
    // The superblock fills block 1 where blocks have 1 KiB, and is in block 0 otherwise, whatever the first data block is.
    const superblockEnd = blockBytes === EXT_SUPERBLOCK_BYTES ? 2 : 1;
    let block = superblockEnd + index;
    if ((this.#geometry.incompat & incompat.metaBg) !== 0 && index >= firstMetaBg) {
      const firstGroup = index * perBlock;
      const start = firstDataBlock + firstGroup * blocksPerGroup;
      block = firstGroup === 0 ? superblockEnd : start + (hasSuperblock(firstGroup) ? 1 : 0);
    }
    const at = block * blockBytes + (group % perBlock) * descriptorBytes;
    const structure = `ext group descriptor ${group}`;
    const descriptor = new Fields(
      await readStructure(this.#volume, at, descriptorBytes, structure),
      structure,
    );
    const high = descriptorBytes >= 64 ? descriptor.u32(40) : 0;
    return descriptor.u32(8) + high * 2 ** 32;
  }

  async #content(inode: Inode, limitBytes: number, structure: string): Promise<ByteSource> {
    const lengthBytes = Math.min(inode.sizeBytes, limitBytes);
    if ((inode.flags & INODE_INLINE_DATA) !== 0) {
      const { block, rest } = this.#inlineParts(inode);
      const bytes = new Uint8Array(block.length + rest.length);
      bytes.set(block);
      bytes.set(rest, block.length);
      if (lengthBytes > bytes.length)
        throw malformed(structure, 'its size is above that of the data in its inode');
      return memorySource(bytes.subarray(0, lengthBytes), structure);
    }
    const runs = new Runs(structure, this.#budget);
    if ((inode.flags & INODE_EXTENTS) !== 0) {
      await this.#extents(runs, inode.fields.fields(40, 60, structure), TREE_DEPTH_MAX, lengthBytes);
    } else await this.#blockMap(runs, inode.fields, lengthBytes);
    return runs.source(this.#volume, lengthBytes);
  }

  /** ext4_extent_header and what follows it; each level is one less deep than the one above. */
  async #extents(runs: Runs, node: Fields, depthMax: number, limitBytes: number): Promise<void> {
    if (node.u16(0) !== 0xf30a) throw node.malformed('a node of its extents has no magic');
    const count = node.u16(2);
    const depth = node.u16(6);
    if (depth > depthMax) throw node.malformed('its tree of extents is too deep');
    const { blockBytes } = this.#geometry;
    for (let index = 0; index < count; index++) {
      const at = 12 + index * 12;
      this.#budget.step();
      const fileBytes = node.u32(at) * blockBytes;
      if (fileBytes >= limitBytes) return;
      if (depth === 0) {
        const length = node.u16(at + 4);
        if (length > INITIALISED_LENGTH_MAX) continue;
        runs.add(
          fileBytes,
          (node.u16(at + 6) * 2 ** 32 + node.u32(at + 8)) * blockBytes,
          length * blockBytes,
        );
      } else {
        const block = node.u16(at + 8) * 2 ** 32 + node.u32(at + 4);
        const structure = 'ext extents';
        const below = await readStructure(this.#volume, block * blockBytes, blockBytes, structure);
        await this.#extents(runs, new Fields(below, structure), depth - 1, limitBytes);
      }
    }
  }

  /** ext2 and ext3: twelve blocks, then blocks of blocks, three levels. */
  async #blockMap(runs: Runs, inode: Fields, limitBytes: number): Promise<void> {
    const { blockBytes } = this.#geometry;
    const perBlock = blockBytes / 4;
    let fileBlock = 0;
    const walk = async (block: number, level: number): Promise<void> => {
      const covered = perBlock ** level;
      if (fileBlock * blockBytes >= limitBytes) return;
      if (block === 0) fileBlock += covered;
      else if (level === 0) {
        runs.add(fileBlock * blockBytes, block * blockBytes, blockBytes);
        fileBlock++;
      } else {
        const structure = 'ext indirect block';
        const pointers = new Fields(
          await readStructure(this.#volume, block * blockBytes, blockBytes, structure),
          structure,
        );
        for (let index = 0; index < perBlock; index++) {
          this.#budget.step();
          await walk(pointers.u32(index * 4), level - 1);
        }
      }
    };
    for (let index = 0; index < 12; index++) await walk(inode.u32(40 + index * 4), 0);
    for (const level of [1, 2, 3]) await walk(inode.u32(40 + (11 + level) * 4), level);
  }

  /** Data inside the inode: its block area, and the attribute `system.data` behind it. */
  #inlineParts({ fields }: Inode): { block: Uint8Array; rest: Uint8Array } {
    const block = fields.part(40, 60);
    const none = { block, rest: new Uint8Array() };
    if (fields.lengthBytes <= 132) return none;
    const start = 128 + fields.u16(128);
    if (start + 4 > fields.lengthBytes || fields.u32(start) !== 0xea020000) return none;
    for (let at = start + 4; at + 16 <= fields.lengthBytes && fields.u32(at) !== 0; ) {
      const nameBytes = fields.u8(at);
      // Index 7 is `system.`
      const isData = fields.u8(at + 1) === 7 && fields.has(at + 16, 'data') && nameBytes === 4;
      if (isData) return { block, rest: fields.part(start + 4 + fields.u16(at + 2), fields.u32(at + 8)) };
      at += 16 + Math.ceil(nameBytes / 4) * 4;
    }
    return none;
  }
}

function requirePlain({ flags }: Inode, structure: string): void {
  if ((flags & INODE_ENCRYPTED) !== 0) throw notRead(structure, 'it is encrypted');
}
