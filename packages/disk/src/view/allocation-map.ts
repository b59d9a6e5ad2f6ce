import { ceilDivide } from '../bytes/numbers.ts';
import type { ProgressListener } from '../convert/progress.ts';
import type { Disk } from '../disk/disk.ts';
import { mapOf } from '../disk/mapped-disk.ts';
import { ImageError, invariant } from '../errors.ts';

const GROUP_BLOCKS = 4096;
const GROUP_BYTES: number = GROUP_BLOCKS / 8;
/** A bitmap of 512 MiB: 64 TiB in blocks of 16 KiB, the most that a qcow2 can need. */
const BLOCK_COUNT_MAX: number = 2 ** 32;

/**
 * Which blocks of a disk hold data: a bitmap with a count for every 4096 blocks, so that the position of a
 * block among the used ones (`rank`) and the block at a position (`select`) are found without walking.
 * 1 TiB in 64 KiB blocks takes 2 MiB.
 */
export class AllocationMap {
  readonly blockBytes: number;
  readonly blockCount: number;
  readonly usedCount: number;
  readonly #bits: Uint8Array;
  /** Used blocks before each group. */
  readonly #before: Float64Array;

  private constructor(blockBytes: number, blockCount: number, bits: Uint8Array) {
    this.blockBytes = blockBytes;
    this.blockCount = blockCount;
    this.#bits = bits;
    const groupCount = ceilDivide(bits.length, GROUP_BYTES);
    this.#before = new Float64Array(groupCount + 1);
    const words = wordsOf(bits);
    let used = 0;
    for (let group = 0; group < groupCount; group++) {
      this.#before[group] = used;
      used += usedInGroup(bits, words, group);
    }
    this.#before[groupCount] = used;
    this.usedCount = used;
  }

  /** Every block that a `data` extent touches is used. Throws IMAGE_LIMIT for more than 2^32 blocks. */
  static async ofDisk(
    disk: Disk,
    blockBytes: number,
    options: { signal?: AbortSignal | undefined; onProgress?: ProgressListener | undefined } = {},
  ): Promise<AllocationMap> {
    const known = mapOf(disk);
    if (known?.blockBytes === blockBytes) return known;
    const blockCount = ceilDivide(disk.virtualSizeBytes, blockBytes);
    const bits = emptyBits(blockBytes, blockCount);
    for await (const extent of disk.extents(0, disk.virtualSizeBytes, options.signal)) {
      const end = extent.offsetBytes + extent.lengthBytes;
      if (extent.kind === 'data') {
        setRange(bits, Math.floor(extent.offsetBytes / blockBytes), ceilDivide(end, blockBytes));
      }
      options.onProgress?.({ phase: 'scan', doneBytes: end, totalBytes: disk.virtualSizeBytes });
    }
    return new AllocationMap(blockBytes, blockCount, bits);
  }

  /** From the indices of used blocks, in any order. */
  static ofBlocks(blockBytes: number, blockCount: number, used: Iterable<number>): AllocationMap {
    const bits = emptyBits(blockBytes, blockCount);
    for (const index of used) setRange(bits, index, index + 1);
    return new AllocationMap(blockBytes, blockCount, bits);
  }

  /** From a bitmap, least significant bit first, which belongs to the map from then on. */
  static ofBits(blockBytes: number, blockCount: number, bits: Uint8Array): AllocationMap {
    invariant(bits.length === ceilDivide(blockCount, 8), 'a bitmap has a bit for each block');
    return new AllocationMap(blockBytes, blockCount, bits);
  }

  /** Throws IMAGE_LIMIT for more than 2^32 blocks. */
  static requireCount(blockBytes: number, blockCount: number): void {
    if (blockCount <= BLOCK_COUNT_MAX) return;
    throw new ImageError('IMAGE_LIMIT', `a map of ${blockCount} blocks of ${blockBytes} bytes is too large`, {
      structure: 'virtual size',
      hint: 'the disk is larger than any that is handled in blocks of this size',
    });
  }

  has(index: number): boolean {
    return ((this.#bits[Math.floor(index / 8)] ?? 0) & (1 << (index % 8))) !== 0;
  }

  /** How many used blocks stand before `index` (0 to blockCount). */
  rank(index: number): number {
    const group = Math.floor(index / GROUP_BLOCKS);
    let count = this.#before[group] ?? 0;
    const lastByte = Math.floor(index / 8);
    for (let i = group * GROUP_BYTES; i < lastByte; i++) count += popcount(this.#bits[i] ?? 0);
    const rest = index % 8;
    return rest === 0 ? count : count + popcount((this.#bits[lastByte] ?? 0) & ((1 << rest) - 1));
  }

  /** The index of the used block with this rank (0 to usedCount - 1). */
  select(rank: number): number {
    invariant(rank >= 0 && rank < this.usedCount, 'a rank lies below the used count');
    let low = 0;
    let high = this.#before.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((this.#before[middle] ?? 0) <= rank) low = middle;
      else high = middle;
    }
    let left = rank - (this.#before[low] ?? 0);
    for (let i = low * GROUP_BYTES; ; i++) {
      const byte = this.#bits[i] ?? 0;
      const count = popcount(byte);
      if (left < count) {
        for (let bit = 0; ; bit++) {
          if ((byte & (1 << bit)) !== 0 && left-- === 0) return i * 8 + bit;
        }
      }
      left -= count;
    }
  }

  /** The used blocks in [from, to), in order. */
  *used(from = 0, to: number = this.blockCount): Iterable<number> {
    for (let index = from; index < to; ) {
      if (index % GROUP_BLOCKS === 0) {
        const group = index / GROUP_BLOCKS;
        if (this.#before[group] === this.#before[group + 1]) {
          index += GROUP_BLOCKS;
          continue;
        }
      }
      if (index % 8 === 0 && this.#bits[index / 8] === 0) {
        index += 8;
        continue;
      }
      if (this.has(index)) yield index;
      index++;
    }
  }

  /** The runs of used blocks from `from` on, in order, cut into [first, end) of at most `maximumBlocks`. */
  *runs(maximumBlocks: number, from = 0): Iterable<{ readonly first: number; readonly end: number }> {
    for (let index = from; index < this.blockCount; ) {
      const runEnd = this.runEnd(index);
      if (this.has(index)) {
        for (let first = index; first < runEnd; first += maximumBlocks) {
          yield { first, end: Math.min(first + maximumBlocks, runEnd) };
        }
      }
      index = runEnd;
    }
  }

  /** The end of the run of equally used (or unused) blocks that `index` stands in. */
  runEnd(index: number): number {
    const used = this.has(index);
    const full = used ? GROUP_BLOCKS : 0;
    const same = used ? 0xff : 0;
    let end = index + 1;
    while (end < this.blockCount) {
      if (end % GROUP_BLOCKS === 0) {
        const group = end / GROUP_BLOCKS;
        if ((this.#before[group + 1] ?? 0) - (this.#before[group] ?? 0) === full) {
          end += GROUP_BLOCKS;
          continue;
        }
      }
      if (end % 8 === 0 && this.#bits[end / 8] === same) {
        end += 8;
        continue;
      }
      if (this.has(end) !== used) break;
      end++;
    }
    return Math.min(end, this.blockCount);
  }

  /** True when any block of [from, to) is used. */
  hasAny(from: number, to: number): boolean {
    for (const _ of this.used(from, Math.min(to, this.blockCount))) return true;
    return false;
  }
}

function emptyBits(blockBytes: number, blockCount: number): Uint8Array {
  AllocationMap.requireCount(blockBytes, blockCount);
  return new Uint8Array(ceilDivide(blockCount, 8));
}

function usedInGroup(bits: Uint8Array, words: Uint32Array, group: number): number {
  const start = group * GROUP_BYTES;
  const end = Math.min(bits.length, start + GROUP_BYTES);
  const endWord = Math.min(words.length, end >> 2);
  let used = 0;
  let word = start >> 2;
  for (; word < endWord; word++) {
    const bits32 = words[word] as number;
    // Most of a large disk is a hole.
    if (bits32 !== 0) used += popcount32(bits32);
  }
  for (let at = Math.max(start, word * 4); at < end; at++) used += popcount(bits[at] ?? 0);
  return used;
}

function popcount(byte: number): number {
  let bits = byte - ((byte >> 1) & 0x55);
  bits = (bits & 0x33) + ((bits >> 2) & 0x33);
  return (bits + (bits >> 4)) & 0x0f;
}

/** The same bits, 32 at a time; empty where they are not aligned for that. */
function wordsOf(bits: Uint8Array): Uint32Array {
  const isAligned = bits.byteOffset % 4 === 0;
  return new Uint32Array(bits.buffer, isAligned ? bits.byteOffset : 0, isAligned ? bits.length >> 2 : 0);
}

function popcount32(word: number): number {
  let bits = word - ((word >>> 1) & 0x55555555);
  bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

function setRange(bits: Uint8Array, from: number, to: number): void {
  let index = from;
  for (; index < to && index % 8 !== 0; index++) setBit(bits, index);
  const wholeEnd = to - (to % 8);
  if (index < wholeEnd) {
    bits.fill(0xff, index / 8, wholeEnd / 8);
    index = wholeEnd;
  }
  for (; index < to; index++) setBit(bits, index);
}

function setBit(bits: Uint8Array, index: number): void {
  const byte = Math.floor(index / 8);
  bits[byte] = (bits[byte] ?? 0) | (1 << (index % 8));
}
