import { type ByteSource, memorySource, readStructure } from '@gantry/disk';
import type { Budget } from '../budget.ts';
import { Fields, malformed, notRead, tooMany, utf8Text } from '../fields.ts';
import type { Findings } from '../findings.ts';
import { DIRECTORY_BYTES_MAX, DIRECTORY_ENTRY_COUNT_MAX, PATH_BYTES_MAX, TREE_DEPTH_MAX } from '../limits.ts';
import type { DirectoryEntry, FileSystem, GuestNode, NodeKind, RecognisedFileSystem } from './file-system.ts';
import { Runs, wholeOf } from './runs.ts';

/** XFS Algorithms & Data Structures, 3rd edition, "Superblocks": `sb_features_incompat`. */
const INCOMPAT_FTYPE = 0x1;
const INCOMPAT_NEEDS_REPAIR = 0x10;
/** FTYPE, SPINODES, META_UUID, BIGTIME, NEEDSREPAIR, NREXT64, EXCHRANGE, PARENT. */
const KNOWN_INCOMPAT = 0xff;
/** `sb_features2` of version 4. */
const FEATURES2_FTYPE = 0x200;

const FORMAT_LOCAL = 1;
const FORMAT_EXTENTS = 2;
const FORMAT_BTREE = 3;
const FLAG_REALTIME = 0x1;
/** `di_flags2`. */
const FLAG2_NREXT64 = 0x10n;

/** The leaf and free-space parts of a directory begin at this place of its file. */
const DIRECTORY_LEAF_BYTES: number = 32 * 1024 ** 3;
const SYMLINK_HEADER_BYTES = 56;

export const XFS_MAGIC = 'XFSB';
export const XFS_SUPERBLOCK_BYTES = 512;

interface Geometry {
  readonly version: number;
  readonly blockBytes: number;
  readonly inodeBytes: number;
  readonly rootInode: number;
  readonly groupBlocks: number;
  readonly groupCount: number;
  /** A group's number stands above so many bits of a block's number. */
  readonly groupBlockBits: number;
  readonly inodesPerBlockBits: number;
  readonly directoryBlockBytes: number;
  readonly hasFileTypes: boolean;
}

/** XFS of version 4 or 5 by its superblock, the first 512 bytes. Its log is not replayed. */
export function recogniseXfs(
  volume: ByteSource,
  superblock: Fields,
  budget: Budget,
  where: string,
  findings: Findings,
): RecognisedFileSystem {
  const label = superblock.utf8(108, 12);
  return {
    kind: 'xfs',
    uuid: superblock.uuid(32),
    ...(label !== '' && { label }),
    async open() {
      const geometry = geometryOf(superblock);
      if (geometry.version === 5 && (superblock.u32(216) & INCOMPAT_NEEDS_REPAIR) !== 0) {
        findings.add({
          severity: 'warning',
          code: 'NEEDS_REPAIR',
          where,
          message: 'the file system is marked to be repaired: Linux does not mount it',
          hint: 'run xfs_repair on the machine, or on a copy of the disk',
        });
      }
      return new Xfs(volume, geometry, budget);
    },
  };
}

function geometryOf(superblock: Fields): Geometry {
  const version = superblock.u16(100) % 16;
  if (version !== 4 && version !== 5) throw notRead('XFS superblock', `version ${version} is not read`);
  const incompatible = version === 5 ? superblock.u32(216) : 0;
  if ((incompatible & ~KNOWN_INCOMPAT) !== 0)
    throw notRead(
      'XFS superblock',
      `features 0x${(incompatible & ~KNOWN_INCOMPAT).toString(16)} are not known here`,
    );
  const blockBits = superblock.u8(120);
  const inodeBits = superblock.u8(122);
  const geometry: Geometry = {
    version,
    blockBytes: superblock.u32(4),
    inodeBytes: superblock.u16(104),
    rootInode: superblock.u64(56),
    groupBlocks: superblock.u32(84),
    groupCount: superblock.u32(88),
    groupBlockBits: superblock.u8(124),
    inodesPerBlockBits: superblock.u8(123),
    directoryBlockBytes: superblock.u32(4) * 2 ** superblock.u8(192),
    hasFileTypes:
      version === 5 ? (incompatible & INCOMPAT_FTYPE) !== 0 : (superblock.u32(200) & FEATURES2_FTYPE) !== 0,
  };
  const isSound =
    blockBits >= 9 &&
    blockBits <= 16 &&
    geometry.blockBytes === 2 ** blockBits &&
    inodeBits >= 8 &&
    inodeBits <= 11 &&
    geometry.inodeBytes === 2 ** inodeBits &&
    geometry.inodesPerBlockBits === blockBits - inodeBits &&
    geometry.groupBlocks > 0 &&
    geometry.groupBlocks <= 2 ** geometry.groupBlockBits &&
    geometry.groupBlockBits <= 32 &&
    geometry.directoryBlockBytes <= 65536;
  if (!isSound) throw superblock.malformed('sizes that no file system has');
  return geometry;
}

interface Inode {
  readonly fields: Fields;
  readonly kind: NodeKind;
  readonly sizeBytes: number;
  readonly format: number;
  /** The data fork: what stands in the inode behind its core. */
  readonly fork: Fields;
  readonly extentCount: number;
}

/** A place is the inode's number. */
class Xfs implements FileSystem {
  readonly root: string;
  readonly ignoresCase = false;
  readonly #volume: ByteSource;
  readonly #geometry: Geometry;
  readonly #budget: Budget;

  constructor(volume: ByteSource, geometry: Geometry, budget: Budget) {
    this.root = String(geometry.rootInode);
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
    const structure = `XFS directory ${directory.place}`;
    if (inode.format === FORMAT_LOCAL) return this.#shortForm(inode);
    const runs = await this.#runs(inode, DIRECTORY_LEAF_BYTES, structure);
    const last = runs.list.at(-1);
    const lengthBytes = last === undefined ? 0 : last.fileBytes + last.lengthBytes;
    const bytes = await wholeOf(runs.source(this.#volume, lengthBytes), DIRECTORY_BYTES_MAX, structure);
    const entries: DirectoryEntry[] = [];
    const { directoryBlockBytes } = this.#geometry;
    for (let at = 0; at + directoryBlockBytes <= bytes.length; at += directoryBlockBytes)
      this.#dataBlock(entries, new Fields(bytes.subarray(at, at + directoryBlockBytes), structure, 'big'));
    return entries;
  }

  async open(file: GuestNode, limitBytes: number): Promise<ByteSource> {
    const inode = await this.#inode(file.place);
    const structure = `XFS file, inode ${file.place}`;
    if ((inode.fields.u16(90) & FLAG_REALTIME) !== 0)
      throw notRead(structure, 'it is on the realtime device');
    const lengthBytes = Math.min(inode.sizeBytes, limitBytes);
    if (inode.format === FORMAT_LOCAL) return memorySource(inode.fork.part(0, lengthBytes), structure);
    return (await this.#runs(inode, lengthBytes, structure)).source(this.#volume, lengthBytes);
  }

  async readLink(link: GuestNode): Promise<string> {
    const inode = await this.#inode(link.place);
    const structure = `XFS symlink ${link.place}`;
    if (inode.sizeBytes > PATH_BYTES_MAX) throw tooMany(structure, PATH_BYTES_MAX);
    if (inode.format === FORMAT_LOCAL) return utf8Text(inode.fork.part(0, inode.sizeBytes));
    const { version, blockBytes } = this.#geometry;
    // Version 5 puts a header before the part of the text in each block.
    const headerBytes = version === 5 ? SYMLINK_HEADER_BYTES : 0;
    const blockCount = Math.ceil(inode.sizeBytes / (blockBytes - headerBytes));
    const runs = await this.#runs(inode, blockCount * blockBytes, structure);
    const bytes = await readStructure(
      runs.source(this.#volume, blockCount * blockBytes),
      0,
      blockCount * blockBytes,
      structure,
    );
    const text = new Uint8Array(inode.sizeBytes);
    for (let block = 0; block < blockCount; block++) {
      const at = block * (blockBytes - headerBytes);
      const part = bytes.subarray(block * blockBytes + headerBytes, (block + 1) * blockBytes);
      text.set(part.subarray(0, text.length - at), at);
    }
    return utf8Text(text);
  }

  async #inode(place: string): Promise<Inode> {
    this.#budget.step();
    const number = Number(place);
    const { inodeBytes, inodesPerBlockBits, version } = this.#geometry;
    const inodesPerBlock = 2 ** inodesPerBlockBits;
    const structure = `XFS inode ${number}`;
    const at =
      this.#blockBytes(Math.floor(number / inodesPerBlock), structure) +
      (number % inodesPerBlock) * inodeBytes;
    const fields = new Fields(await readStructure(this.#volume, at, inodeBytes, structure), structure, 'big');
    if (!fields.has(0, 'IN')) throw fields.malformed('it has no magic');
    const type = Math.floor(fields.u16(2) / 4096);
    const coreBytes = fields.u8(4) >= 3 ? 176 : 100;
    const forkBytes = fields.u8(82) * 8;
    const room = inodeBytes - coreBytes;
    if (forkBytes > room) throw fields.malformed('its attributes begin behind its end');
    const isLarge = version === 5 && fields.u8(4) >= 3 && (fields.big(120) & FLAG2_NREXT64) !== 0n;
    return {
      fields,
      kind: type === 4 ? 'directory' : type === 8 ? 'file' : type === 10 ? 'symlink' : 'other',
      sizeBytes: fields.u64(56),
      format: fields.u8(5),
      fork: fields.fields(coreBytes, forkBytes === 0 ? room : forkBytes, structure),
      extentCount: isLarge ? fields.u64(24) : fields.u32(76),
    };
  }

  /** Where a block stands: its number has the group above and the block in the group below. */
  #blockBytes(block: number, structure: string): number {
    const { groupBlockBits, groupBlocks, groupCount, blockBytes } = this.#geometry;
    const group = Math.floor(block / 2 ** groupBlockBits);
    const inGroup = block % 2 ** groupBlockBits;
    if (group >= groupCount || inGroup >= groupBlocks)
      throw malformed(structure, `there is no block ${block}`);
    return (group * groupBlocks + inGroup) * blockBytes;
  }

  async #runs(inode: Inode, limitBytes: number, structure: string): Promise<Runs> {
    const runs = new Runs(structure, this.#budget);
    if (inode.format === FORMAT_EXTENTS)
      this.#addExtents(runs, inode.fork, 0, inode.extentCount, limitBytes, structure);
    else if (inode.format === FORMAT_BTREE) await this.#rootNode(runs, inode.fork, limitBytes, structure);
    else throw malformed(structure, `its data has the form ${inode.format}`);
    return runs;
  }

  /** xfs_bmbt_rec: a flag, 54 bits of place in the file, 52 bits of block, 21 bits of length. True at the limit. */
  #addExtents(
    runs: Runs,
    fields: Fields,
    from: number,
    count: number,
    limitBytes: number,
    structure: string,
  ): boolean {
    const { blockBytes } = this.#geometry;
    for (let index = 0; index < count; index++) {
      const high = fields.big(from + index * 16);
      const low = fields.big(from + index * 16 + 8);
      const fileBytes = Number((high >> 9n) & 0x3fffffffffffffn) * blockBytes;
      if (fileBytes >= limitBytes) return true;
      const isUnwritten = high >> 63n !== 0n;
      const block = Number(((high & 0x1ffn) << 43n) | (low >> 21n));
      if (!isUnwritten)
        runs.add(fileBytes, this.#blockBytes(block, structure), Number(low & 0x1fffffn) * blockBytes);
    }
    return false;
  }

  async #rootNode(runs: Runs, fork: Fields, limitBytes: number, structure: string): Promise<void> {
    const level = fork.u16(0);
    const countMax = Math.floor((fork.lengthBytes - 4) / 16);
    await this.#children(
      runs,
      fork,
      { level, count: fork.u16(2), keys: 4, pointers: 4 + countMax * 8 },
      limitBytes,
      structure,
    );
  }

  async #children(
    runs: Runs,
    node: Fields,
    { level, count, keys, pointers }: { level: number; count: number; keys: number; pointers: number },
    limitBytes: number,
    structure: string,
  ): Promise<void> {
    if (level < 1 || level > TREE_DEPTH_MAX)
      throw malformed(structure, `its tree of extents has ${level} levels`);
    const { blockBytes, version } = this.#geometry;
    const headerBytes = version === 5 ? 72 : 24;
    for (let index = 0; index < count; index++) {
      this.#budget.step();
      if (node.u64(keys + index * 8) * blockBytes >= limitBytes) return;
      const at = this.#blockBytes(node.u64(pointers + index * 8), structure);
      const block = new Fields(
        await readStructure(this.#volume, at, blockBytes, structure),
        structure,
        'big',
      );
      if (!block.has(0, version === 5 ? 'BMA3' : 'BMAP'))
        throw malformed(structure, 'a node of its extents has no magic');
      const below = block.u16(4);
      if (below !== level - 1) throw malformed(structure, 'the levels of its tree do not fit');
      const records = block.u16(6);
      const countMax = Math.floor((blockBytes - headerBytes) / 16);
      if (records > countMax) throw malformed(structure, 'a node of its extents has too many');
      if (below === 0) this.#addExtents(runs, block, headerBytes, records, limitBytes, structure);
      else {
        const place = {
          level: below,
          count: records,
          keys: headerBytes,
          pointers: headerBytes + countMax * 8,
        };
        await this.#children(runs, block, place, limitBytes, structure);
      }
    }
  }

  /** xfs_dir2_sf: names in the inode itself, inodes of 4 bytes, or of 8 where one needs them. */
  #shortForm({ fork }: Inode): DirectoryEntry[] {
    const { hasFileTypes } = this.#geometry;
    const count = fork.u8(0);
    const isLarge = fork.u8(1) > 0;
    const inodeBytes = isLarge ? 8 : 4;
    const entries: DirectoryEntry[] = [];
    let at = 2 + inodeBytes;
    for (let index = 0; index < count; index++) {
      this.#budget.step();
      const nameBytes = fork.u8(at);
      const name = utf8Text(fork.part(at + 3, nameBytes));
      at += 3 + nameBytes + (hasFileTypes ? 1 : 0);
      entries.push({ name, place: String(isLarge ? fork.u64(at) : fork.u32(at)) });
      at += inodeBytes;
    }
    return entries;
  }

  /** A block of a directory's data; in the form of one block its leaf stands at the end. */
  #dataBlock(entries: DirectoryEntry[], block: Fields): void {
    const { hasFileTypes } = this.#geometry;
    const isSingle = block.has(0, 'XD2B') || block.has(0, 'XDB3');
    const hasCrc = block.has(0, 'XDB3') || block.has(0, 'XDD3');
    // A hole of the directory reads as zeros.
    if (!isSingle && !hasCrc && !block.has(0, 'XD2D')) {
      if (block.u32(0) === 0) return;
      throw block.malformed('a block of it has no magic');
    }
    const tail = block.lengthBytes - 8;
    const end = isSingle ? tail - block.u32(tail) * 8 : block.lengthBytes;
    for (let at = hasCrc ? 64 : 16; at + 8 <= end; ) {
      this.#budget.step();
      if (block.u16(at) === 0xffff) {
        const length = block.u16(at + 2);
        if (length < 8 || length % 8 !== 0) throw block.malformed('a free part of it has no length');
        at += length;
        continue;
      }
      const nameBytes = block.u8(at + 8);
      const name = utf8Text(block.part(at + 9, nameBytes));
      if (entries.length >= DIRECTORY_ENTRY_COUNT_MAX)
        throw tooMany('XFS directory', DIRECTORY_ENTRY_COUNT_MAX);
      if (name !== '.' && name !== '..' && name !== '') entries.push({ name, place: String(block.u64(at)) });
      at += Math.ceil((9 + nameBytes + (hasFileTypes ? 1 : 0) + 2) / 8) * 8;
    }
  }
}
