import { HASH_BYTES, LENGTH_CODES_BYTES, lengthCode, PIECES_PER_BLOCK } from './block-record.ts';

/** Blocks that one row of manifest_chunks covers: 256 MiB of the disk. */
export const CHUNK_BLOCKS = 1024;
export const CHUNK_PIECES: number = CHUNK_BLOCKS * PIECES_PER_BLOCK;
const BITMAP_BYTES: number = CHUNK_BLOCKS / 8;
const ENTRY_BYTES: number = HASH_BYTES + LENGTH_CODES_BYTES;

/**
 * A run of 1024 blocks of a manifest: which hold data, and for each of these its hash and the length codes of
 * its pieces. Packed, as a row keeps it: a bitmap of 128 bytes, lowest bit first, then 40 bytes for each bit
 * that is set. Blocks count from the start of the chunk.
 */
export class ManifestChunk {
  readonly index: number;
  readonly #bitmap: Uint8Array = new Uint8Array(BITMAP_BYTES);
  readonly #entries: Uint8Array = new Uint8Array(CHUNK_BLOCKS * ENTRY_BYTES);

  constructor(index: number) {
    this.index = index;
  }

  /** Undefined when the bytes are not a packed chunk. */
  static unpack(index: number, packed: Uint8Array): ManifestChunk | undefined {
    const chunk = new ManifestChunk(index);
    chunk.#bitmap.set(packed.subarray(0, BITMAP_BYTES));
    let at = BITMAP_BYTES;
    for (const block of chunk.blocks()) {
      chunk.#entries.set(packed.subarray(at, at + ENTRY_BYTES), block * ENTRY_BYTES);
      at += ENTRY_BYTES;
    }
    return at === packed.length ? chunk : undefined;
  }

  pack(): Uint8Array {
    const packed = new Uint8Array(BITMAP_BYTES + this.count * ENTRY_BYTES);
    packed.set(this.#bitmap);
    let at = BITMAP_BYTES;
    for (const block of this.blocks()) {
      packed.set(this.#entries.subarray(block * ENTRY_BYTES, (block + 1) * ENTRY_BYTES), at);
      at += ENTRY_BYTES;
    }
    return packed;
  }

  clone(): ManifestChunk {
    const chunk = new ManifestChunk(this.index);
    chunk.#bitmap.set(this.#bitmap);
    chunk.#entries.set(this.#entries);
    return chunk;
  }

  /** How many blocks hold data. */
  get count(): number {
    let count = 0;
    for (const _ of this.blocks()) count++;
    return count;
  }

  /** The blocks that hold data, in order. */
  *blocks(): Iterable<number> {
    for (let byte = 0; byte < BITMAP_BYTES; byte++) {
      const bits = this.#bitmap[byte] ?? 0;
      if (bits === 0) continue;
      for (let bit = 0; bit < 8; bit++) if ((bits & (1 << bit)) !== 0) yield byte * 8 + bit;
    }
  }

  has(block: number): boolean {
    return ((this.#bitmap[Math.floor(block / 8)] ?? 0) & (1 << (block % 8))) !== 0;
  }

  hash(block: number): Uint8Array {
    return this.#entries.subarray(block * ENTRY_BYTES, block * ENTRY_BYTES + HASH_BYTES);
  }

  codes(block: number): Uint8Array {
    return this.#entries.subarray(block * ENTRY_BYTES + HASH_BYTES, (block + 1) * ENTRY_BYTES);
  }

  /** The length code of a piece of this chunk, 0 to 4095: 0 when it is all zero. */
  pieceCode(piece: number): number {
    const block = Math.floor(piece / PIECES_PER_BLOCK);
    return this.has(block) ? lengthCode(this.codes(block), piece % PIECES_PER_BLOCK) : 0;
  }

  set(block: number, hash: Uint8Array, codes: Uint8Array): void {
    const byte = Math.floor(block / 8);
    this.#bitmap[byte] = (this.#bitmap[byte] ?? 0) | (1 << (block % 8));
    this.#entries.set(hash, block * ENTRY_BYTES);
    this.#entries.set(codes.subarray(0, LENGTH_CODES_BYTES), block * ENTRY_BYTES + HASH_BYTES);
  }

  /** Forgets every block from `block` on. */
  clearFrom(block: number): void {
    for (let i = block; i < CHUNK_BLOCKS; i++) {
      const byte = Math.floor(i / 8);
      this.#bitmap[byte] = (this.#bitmap[byte] ?? 0) & ~(1 << (i % 8));
    }
  }
}
