import { DECODED_BYTES_MAX } from './limits.ts';

/**
 * Decompressed blocks, shared by all that read parts of them; the least recently used go first. What is shared is
 * not bound to one reader's signal.
 */
export class DecodedBlocks {
  readonly #decode: (rank: number) => Promise<Uint8Array>;
  readonly #limit: number;
  readonly #blocks = new Map<number, Promise<Uint8Array>>();

  constructor(blockBytes: number, decode: (rank: number) => Promise<Uint8Array>) {
    this.#decode = decode;
    this.#limit = Math.max(1, Math.floor(DECODED_BYTES_MAX / blockBytes));
  }

  /** The block of the record with this rank. */
  get(rank: number): Promise<Uint8Array> {
    const block = this.#blocks.get(rank) ?? this.#start(rank);
    this.#blocks.delete(rank);
    this.#blocks.set(rank, block);
    for (const oldest of this.#blocks.keys()) {
      if (this.#blocks.size <= this.#limit) break;
      this.#blocks.delete(oldest);
    }
    return block;
  }

  #start(rank: number): Promise<Uint8Array> {
    const block = this.#decode(rank);
    // The next reader tries again.
    block.catch(() => this.#blocks.delete(rank));
    return block;
  }
}
