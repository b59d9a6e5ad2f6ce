import { invariant } from '../errors.ts';
import type { ByteSource } from './byte-source.ts';

export interface ReadAheadOptions {
  /** Unit of the cache. Default 256 KiB. */
  readonly blockBytes?: number;
  /** Blocks that are kept, the least recently used going first. Default 32. */
  readonly blockCount?: number;
}

/** A run of reads in order doubles what one request fetches, up to this many blocks. */
const LONGEST_RUN_BLOCKS = 8;

/** A read of at least this many blocks goes to the source as it is: it gains nothing from the cache. */
const DIRECT_BLOCKS = 4;

/**
 * Small reads of a slow source served from whole blocks: neighbouring misses become one read of the source,
 * readers of the same block share it, and reads in order fetch ahead. Closing it closes the source.
 */
export function readAheadSource(source: ByteSource, options: ReadAheadOptions = {}): ByteSource {
  return new ReadAheadSource(source, options.blockBytes ?? 256 * 1024, options.blockCount ?? 32);
}

class ReadAheadSource implements ByteSource {
  readonly name: string;
  readonly lengthBytes: number;
  readonly #source: ByteSource;
  readonly #blockBytes: number;
  readonly #blockLimit: number;
  /** Least recently used first. A block that is still on its way is there too. */
  readonly #blocks: Map<number, Promise<Uint8Array>> = new Map();
  readonly #closing: AbortController = new AbortController();
  #runEnd = 0;
  #runBlocks = 1;

  constructor(source: ByteSource, blockBytes: number, blockCount: number) {
    this.name = source.name;
    this.lengthBytes = source.lengthBytes;
    this.#source = source;
    this.#blockBytes = blockBytes;
    // One read's blocks and what it fetches ahead fit at once.
    this.#blockLimit = Math.max(blockCount, DIRECT_BLOCKS + LONGEST_RUN_BLOCKS);
  }

  async read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    invariant(offsetBytes + into.length <= this.lengthBytes, `read beyond ${this.name}`);
    signal?.throwIfAborted();
    if (into.length >= DIRECT_BLOCKS * this.#blockBytes) return this.#source.read(offsetBytes, into, signal);
    if (into.length === 0) return;
    const end = offsetBytes + into.length;
    const first = Math.floor(offsetBytes / this.#blockBytes);
    const last = Math.floor((end - 1) / this.#blockBytes);
    for (let index = first; index <= last; index++) {
      if (!this.#blocks.has(index)) this.#load(index, last);
    }
    for (let index = first; index <= last; index++) {
      const block = await unlessAborted(this.#use(index, last), signal);
      const blockStart = index * this.#blockBytes;
      const from = Math.max(offsetBytes, blockStart);
      const to = Math.min(end, blockStart + block.length);
      into.set(block.subarray(from - blockStart, to - blockStart), from - offsetBytes);
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error(`${this.name} was closed`));
    this.#blocks.clear();
    await this.#source.close();
  }

  /** The block, marked as the most recently used; loaded again when it failed or was dropped since. */
  #use(index: number, last: number): Promise<Uint8Array> {
    if (!this.#blocks.has(index)) this.#load(index, last);
    const block = this.#blocks.get(index);
    invariant(block !== undefined, 'a block that was loaded is there');
    this.#blocks.delete(index);
    this.#blocks.set(index, block);
    return block;
  }

  /** Starts one read for the run of missing blocks at `first`: to `last` at least, further in a sequence. */
  #load(first: number, last: number): void {
    this.#runBlocks = first === this.#runEnd ? Math.min(2 * this.#runBlocks, LONGEST_RUN_BLOCKS) : 1;
    const blockEnd = Math.ceil(this.lengthBytes / this.#blockBytes);
    const wanted = Math.min(blockEnd, Math.max(last + 1, first + this.#runBlocks));
    let end = first + 1;
    while (end < wanted && !this.#blocks.has(end)) end++;
    this.#runEnd = end;

    const start = first * this.#blockBytes;
    const run = new Uint8Array(Math.min(end * this.#blockBytes, this.lengthBytes) - start);
    const read = this.#source.read(start, run, this.#closing.signal);
    for (let index = first; index < end; index++) {
      const from = (index - first) * this.#blockBytes;
      // A copy for each, so that one block that stays does not hold the memory of its whole run.
      const block = read.then(() => (end === first + 1 ? run : run.slice(from, from + this.#blockBytes)));
      block.catch(() => {
        // The next reader tries again.
        if (this.#blocks.get(index) === block) this.#blocks.delete(index);
      });
      this.#blocks.set(index, block);
    }
    for (const index of this.#blocks.keys()) {
      if (this.#blocks.size <= this.#blockLimit) break;
      this.#blocks.delete(index);
    }
  }
}

/** Waits for what others may be waiting for too: an abort ends the waiting, not the work. */
function unlessAborted<Value>(work: Promise<Value>, signal: AbortSignal | undefined): Promise<Value> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
