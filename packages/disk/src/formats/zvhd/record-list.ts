import { invariant } from '../../errors.ts';
import { PAGE_BYTES } from './header.ts';

const FIRST_CAPACITY = 1024;

/** Where the records of a file are, in the order of their blocks: 10 bytes of memory each. */
export class RecordList {
  #blocks: Uint32Array<ArrayBuffer> = new Uint32Array(FIRST_CAPACITY);
  /** In pages: files of up to 16 TiB. */
  #offsets: Uint32Array<ArrayBuffer> = new Uint32Array(FIRST_CAPACITY);
  #lengths: Uint16Array<ArrayBuffer> = new Uint16Array(FIRST_CAPACITY);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** The block of the last record, -1 before the first. */
  get lastBlock(): number {
    return this.#count === 0 ? -1 : this.block(this.#count - 1);
  }

  /** The end of the last record, or undefined before the first. */
  get endBytes(): number | undefined {
    return this.#count === 0
      ? undefined
      : this.offsetBytes(this.#count - 1) + this.lengthBytes(this.#count - 1);
  }

  /** Blocks come in order; both other numbers are whole pages. */
  add(block: number, offsetBytes: number, lengthBytes: number): void {
    invariant(block > this.lastBlock, 'records are listed in the order of their blocks');
    if (this.#count === this.#blocks.length) this.#grow();
    this.#blocks[this.#count] = block;
    this.#offsets[this.#count] = offsetBytes / PAGE_BYTES;
    this.#lengths[this.#count] = lengthBytes / PAGE_BYTES;
    this.#count++;
  }

  block(rank: number): number {
    return this.#blocks[rank] ?? 0;
  }

  offsetBytes(rank: number): number {
    return (this.#offsets[rank] ?? 0) * PAGE_BYTES;
  }

  lengthBytes(rank: number): number {
    return (this.#lengths[rank] ?? 0) * PAGE_BYTES;
  }

  /** How many records stand before `block`: the rank of its own, if it has one. */
  rankOf(block: number): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.block(middle) < block) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #grow(): void {
    const capacity = this.#blocks.length * 2;
    const blocks = new Uint32Array(capacity);
    const offsets = new Uint32Array(capacity);
    const lengths = new Uint16Array(capacity);
    blocks.set(this.#blocks);
    offsets.set(this.#offsets);
    lengths.set(this.#lengths);
    this.#blocks = blocks;
    this.#offsets = offsets;
    this.#lengths = lengths;
  }
}
