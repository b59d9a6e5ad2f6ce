import type { ByteSource } from '@gantry/disk';

export interface RangeWindowOptions {
  /** Ranges that are fetched at once, ahead of what is read. Memory: twice as many. */
  readonly parallel: number;
  /** Length of a range. Default 4 MiB. */
  readonly rangeBytes?: number;
}

const RANGE_BYTES = 4 * 1024 * 1024;

/**
 * A distant source whose reads go forward by and large, as those of a disk in an archive do: what comes next is
 * fetched in ranges beside each other, within a bounded window. Short reads elsewhere (tables of the image) go
 * straight to the source. Closing it closes the source.
 */
export function rangeWindow(source: ByteSource, options: RangeWindowOptions): ByteSource {
  return new RangeWindow(source, options.parallel, options.rangeBytes ?? RANGE_BYTES);
}

class RangeWindow implements ByteSource {
  readonly name: string;
  readonly lengthBytes: number;
  readonly #source: ByteSource;
  readonly #parallel: number;
  readonly #rangeBytes: number;
  readonly #closing = new AbortController();
  /** The least recently used first; those that are on their way are there too. */
  readonly #ranges = new Map<number, Promise<Uint8Array>>();
  /** The furthest range that was read from: what follows it is fetched ahead. */
  #front = -1;
  /** Short reads in order, and where the last one ended. */
  #straightBytes = 0;
  #straightEnd = 0;

  constructor(source: ByteSource, parallel: number, rangeBytes: number) {
    this.name = source.name;
    this.lengthBytes = source.lengthBytes;
    this.#source = source;
    this.#parallel = parallel;
    this.#rangeBytes = rangeBytes;
  }

  async read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (into.length === 0) return;
    const first = Math.floor(offsetBytes / this.#rangeBytes);
    const last = Math.floor((offsetBytes + into.length - 1) / this.#rangeBytes);
    if (!this.#isForward(first, offsetBytes, into.length))
      return this.#source.read(offsetBytes, into, signal);
    for (let index = first; index <= last; index++) {
      const range = await ended(this.#use(index), signal);
      const start = index * this.#rangeBytes;
      const from = Math.max(offsetBytes, start);
      const to = Math.min(offsetBytes + into.length, start + range.length);
      into.set(range.subarray(from - start, to - start), from - offsetBytes);
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error(`${this.name} was closed`));
    this.#ranges.clear();
    await this.#source.close();
  }

  /** Part of the way through the source: in a range that is here or next, or in order for long enough to start one. */
  #isForward(index: number, offsetBytes: number, lengthBytes: number): boolean {
    if (this.#ranges.has(index) || (this.#front >= 0 && index === this.#front + 1)) return true;
    const startBytes = this.#rangeBytes / 16;
    const gapBytes = offsetBytes - this.#straightEnd;
    this.#straightBytes =
      gapBytes >= 0 && gapBytes < startBytes ? this.#straightBytes + lengthBytes : lengthBytes;
    this.#straightEnd = offsetBytes + lengthBytes;
    return this.#straightBytes >= startBytes;
  }

  /** The range, with those behind it on their way. */
  #use(index: number): Promise<Uint8Array> {
    const end = Math.ceil(this.lengthBytes / this.#rangeBytes);
    const isNew = index > this.#front || !this.#ranges.has(index);
    if (isNew) {
      for (let next = index; next < Math.min(end, index + this.#parallel); next++) {
        if (!this.#ranges.has(next)) this.#ranges.set(next, this.#fetch(next));
      }
      this.#front = index;
    }
    const range = this.#ranges.get(index) ?? this.#fetch(index);
    this.#ranges.delete(index);
    this.#ranges.set(index, range);
    for (const oldest of this.#ranges.keys()) {
      if (this.#ranges.size <= 2 * this.#parallel) break;
      this.#ranges.delete(oldest);
    }
    return range;
  }

  #fetch(index: number): Promise<Uint8Array> {
    const start = index * this.#rangeBytes;
    const bytes = new Uint8Array(Math.min(this.#rangeBytes, this.lengthBytes - start));
    const range = this.#source.read(start, bytes, this.#closing.signal).then(() => bytes);
    range.catch(() => {
      // The next reader tries again.
      if (this.#ranges.get(index) === range) this.#ranges.delete(index);
    });
    return range;
  }
}

/** Waits for what others may be waiting for too: an abort ends the waiting, not the work. */
function ended<Value>(work: Promise<Value>, signal: AbortSignal | undefined): Promise<Value> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
    if (signal.aborted) onAbort();
  });
}
