import { DECODED_BYTES_MAX } from './limits.ts';

interface DecodedBlock {
  readonly bytes: Promise<Uint8Array>;
  /** Readers that wait for it or have it at hand. */
  userCount: number;
}

/**
 * Decompressed blocks, shared by all that read parts of them; the least recently used go first, with their memory.
 * What is shared is not bound to one reader's signal.
 */
export class DecodedBlocks {
  readonly #decode: (rank: number) => Promise<Uint8Array>;
  readonly #limit: number;
  readonly #blocks = new Map<number, DecodedBlock>();

  /** What `decode` gives belongs to the cache. */
  constructor(blockBytes: number, decode: (rank: number) => Promise<Uint8Array>) {
    this.#decode = decode;
    this.#limit = Math.max(1, Math.floor(DECODED_BYTES_MAX / blockBytes));
  }

  /** Lends the block of the record with this rank for as long as `use` runs. */
  async use(rank: number, use: (block: Uint8Array) => void): Promise<void> {
    const block = this.#blocks.get(rank) ?? { bytes: this.#decode(rank), userCount: 0 };
    this.#blocks.delete(rank);
    this.#blocks.set(rank, block);
    block.userCount++;
    try {
      use(await block.bytes);
    } catch (error) {
      // The next reader tries again.
      this.#blocks.delete(rank);
      throw error;
    } finally {
      block.userCount--;
      await this.#trim();
    }
  }

  async #trim(): Promise<void> {
    for (const [rank, block] of this.#blocks) {
      if (this.#blocks.size <= this.#limit) return;
      if (block.userCount > 0) continue;
      this.#blocks.delete(rank);
      giveBack(await block.bytes);
    }
  }
}

/** Frees memory that nobody else has: the garbage collector would let tens of MiB of it gather first. */
export function giveBack(bytes: Uint8Array): void {
  if (bytes.buffer instanceof ArrayBuffer) bytes.buffer.transfer(0);
}
