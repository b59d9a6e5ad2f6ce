import { type ByteSource, DIGEST_BLOCK_BYTES, DIGEST_PREFIX, StoreError } from '@gantry/disk';

/**
 * The list of an image's blocks, as one service tells it to another (docs/reference/image-blocks.md): a head of 64
 * bytes, and for each block that is not all zero an entry of 40, in the order of the disk. Numbers are big-endian.
 */
export const BLOCK_LIST_TYPE = 'application/vnd.gantry.blocks';
/** The type under which the same object gives the guest's bytes. */
export const RAW_DISK_TYPE = 'application/vnd.gantry.raw';

const MAGIC = 'GNTRYBLK';
const VERSION = 1;
const HEAD_BYTES = 64;
const HASH_BYTES = 32;
const ENTRY_BYTES: number = 8 + HASH_BYTES;
/** Entries read at once: 160 KiB. */
const ENTRIES_AT_ONCE = 4096;

export interface BlockListHead {
  readonly virtualSizeBytes: number;
  /** `disk1:…` */
  readonly diskDigest: string;
  /** Blocks that are not all zero. */
  readonly blockCount: number;
}

export interface ListedBlock {
  /** Counted from the start of the disk. */
  readonly block: number;
  /** SHA-256 of its 262,144 bytes. */
  readonly hash: Uint8Array;
}

/** Where the blocks of a list come from: any part of it, by the place in the list. */
export interface BlockListing extends BlockListHead {
  /** The listed blocks from the `from`-th to before the `to`-th. */
  readonly blocks: (from: number, to: number) => Promise<readonly ListedBlock[]>;
}

/** The list as bytes of known length, any range of them. */
export function blockListSource(name: string, listing: BlockListing): ByteSource {
  const head = encodeHead(listing);
  const lengthBytes = HEAD_BYTES + listing.blockCount * ENTRY_BYTES;
  return {
    name,
    lengthBytes,
    async read(offset, into, signal) {
      signal?.throwIfAborted();
      const end = offset + into.length;
      if (offset < 0 || end > lengthBytes) throw new RangeError('a read lies inside the list');
      if (offset < HEAD_BYTES) into.set(head.subarray(offset, Math.min(HEAD_BYTES, end)));
      for (let at = Math.max(offset, HEAD_BYTES); at < end; ) {
        const first = Math.floor((at - HEAD_BYTES) / ENTRY_BYTES);
        const last = Math.min(Math.ceil((end - HEAD_BYTES) / ENTRY_BYTES), first + ENTRIES_AT_ONCE);
        const bytes = encodeEntries(await listing.blocks(first, last));
        const from = at - HEAD_BYTES - first * ENTRY_BYTES;
        const part = bytes.subarray(from, from + end - at);
        into.set(part, at - offset);
        at += part.length;
      }
    },
    async close() {},
  };
}

/** Reads the head. Throws STORE_CORRUPT for what is no list of blocks. */
export async function readBlockListHead(source: ByteSource, signal?: AbortSignal): Promise<BlockListHead> {
  if (source.lengthBytes < HEAD_BYTES) throw noList(source, 'it is too short');
  const head = Buffer.alloc(HEAD_BYTES);
  await source.read(0, head, signal);
  if (head.toString('latin1', 0, 8) !== MAGIC) throw noList(source, 'its mark is another');
  if (head.readUInt32BE(8) !== VERSION || head.readUInt32BE(12) !== DIGEST_BLOCK_BYTES)
    throw noList(source, 'its version or its block size is another');
  const virtualSizeBytes = Number(head.readBigUInt64BE(16));
  const blockCount = Number(head.readBigUInt64BE(24));
  const blocksOfDisk = Math.ceil(virtualSizeBytes / DIGEST_BLOCK_BYTES);
  if (!Number.isSafeInteger(virtualSizeBytes) || blockCount > blocksOfDisk)
    throw noList(source, 'its counts cannot be');
  if (source.lengthBytes !== HEAD_BYTES + blockCount * ENTRY_BYTES)
    throw noList(source, 'its length is not that of its entries');
  return { virtualSizeBytes, blockCount, diskDigest: DIGEST_PREFIX + head.subarray(32).toString('hex') };
}

/** The listed blocks from `fromBlock` of the disk on, in order. Throws STORE_CORRUPT. */
export async function* readBlockList(
  source: ByteSource,
  { virtualSizeBytes, blockCount }: BlockListHead,
  fromBlock: number,
  signal?: AbortSignal,
): AsyncGenerator<readonly ListedBlock[], void, undefined> {
  let before = -1;
  for (let at = 0; at < blockCount; at += ENTRIES_AT_ONCE) {
    const bytes = Buffer.alloc(Math.min(ENTRIES_AT_ONCE, blockCount - at) * ENTRY_BYTES);
    await source.read(HEAD_BYTES + at * ENTRY_BYTES, bytes, signal);
    const blocks: ListedBlock[] = [];
    for (let entry = 0; entry < bytes.length; entry += ENTRY_BYTES) {
      const block = Number(bytes.readBigUInt64BE(entry));
      if (block <= before || block * DIGEST_BLOCK_BYTES >= virtualSizeBytes)
        throw noList(source, 'its blocks are not in order');
      before = block;
      if (block >= fromBlock) blocks.push({ block, hash: bytes.subarray(entry + 8, entry + ENTRY_BYTES) });
    }
    if (blocks.length > 0) yield blocks;
  }
}

function encodeHead({ virtualSizeBytes, blockCount, diskDigest }: BlockListHead): Uint8Array {
  const head = Buffer.alloc(HEAD_BYTES);
  head.write(MAGIC, 0, 'latin1');
  head.writeUInt32BE(VERSION, 8);
  head.writeUInt32BE(DIGEST_BLOCK_BYTES, 12);
  head.writeBigUInt64BE(BigInt(virtualSizeBytes), 16);
  head.writeBigUInt64BE(BigInt(blockCount), 24);
  head.write(diskDigest.slice(DIGEST_PREFIX.length), 32, 'hex');
  return head;
}

function encodeEntries(blocks: readonly ListedBlock[]): Uint8Array {
  const bytes = Buffer.alloc(blocks.length * ENTRY_BYTES);
  for (const [i, { block, hash }] of blocks.entries()) {
    bytes.writeBigUInt64BE(BigInt(block), i * ENTRY_BYTES);
    bytes.set(hash, i * ENTRY_BYTES + 8);
  }
  return bytes;
}

function noList(source: ByteSource, why: string): StoreError {
  return new StoreError('STORE_CORRUPT', `${source.name} is no list of blocks: ${why}`, {
    where: source.name,
    hint: 'the other service may be of another release: import the file without its blocks',
  });
}
