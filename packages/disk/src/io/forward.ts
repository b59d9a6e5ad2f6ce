import { MIB } from '../bytes/numbers.ts';
import { ImageError, StoreError } from '../errors.ts';
import type { ByteSource } from './byte-source.ts';

/** Kept from the start: where formats that can be decoded front to back have their tables. */
const HEAD_BYTES: number = 32 * MIB;
/** Kept behind the furthest byte that was asked for: reads that run side by side come out of order. */
const WINDOW_BYTES: number = 24 * MIB;

interface Chunk {
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
}

/** A source that arrives once, front to back. */
export interface ForwardSource extends ByteSource {
  /** Takes the rest in and checks that the stream was as long as it was said to be. */
  drain(signal?: AbortSignal): Promise<void>;
}

/**
 * An arriving stream of known length as a source, for formats that can be decoded front to back: a read takes
 * in the stream up to its end. What lies before the window and after the head is gone, and a read of it, or of
 * the end before the middle was wanted, throws IMAGE_NOT_SEQUENTIAL. Memory: 56 MiB at most.
 */
export function forwardSource(
  stream: AsyncIterable<Uint8Array>,
  lengthBytes: number,
  name: string,
): ForwardSource {
  return new ArrivingSource(stream, lengthBytes, name);
}

class ArrivingSource implements ForwardSource {
  readonly name: string;
  readonly lengthBytes: number;
  readonly #stream: AsyncIterator<Uint8Array>;
  #head: Chunk[] = [];
  #window: Chunk[] = [];
  #arrivedBytes = 0;
  #turn: Promise<void> = Promise.resolve();

  constructor(stream: AsyncIterable<Uint8Array>, lengthBytes: number, name: string) {
    this.#stream = stream[Symbol.asyncIterator]();
    this.lengthBytes = lengthBytes;
    this.name = name;
  }

  read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    return this.#inTurn(async () => {
      signal?.throwIfAborted();
      const end = offsetBytes + into.length;
      if (offsetBytes > this.#arrivedBytes + WINDOW_BYTES && offsetBytes > HEAD_BYTES)
        throw this.#notSequential(offsetBytes);
      await this.#arriveTo(end, signal);
      this.#copy(offsetBytes, into);
    });
  }

  drain(signal?: AbortSignal): Promise<void> {
    return this.#inTurn(async () => {
      await this.#arriveTo(this.lengthBytes, signal);
      const { done } = await this.#stream.next();
      if (!done) throw this.#wrongLength('more');
    });
  }

  async close(): Promise<void> {
    this.#head = [];
    this.#window = [];
    await this.#stream.return?.();
  }

  #inTurn(task: () => Promise<void>): Promise<void> {
    const run = this.#turn.then(task);
    this.#turn = run.catch(() => {});
    return run;
  }

  async #arriveTo(end: number, signal?: AbortSignal): Promise<void> {
    while (this.#arrivedBytes < end) {
      signal?.throwIfAborted();
      const { done, value } = await this.#stream.next();
      if (done) throw this.#wrongLength('less');
      const chunk = { offsetBytes: this.#arrivedBytes, bytes: value };
      this.#arrivedBytes += value.length;
      if (this.#arrivedBytes > this.lengthBytes) throw this.#wrongLength('more');
      (chunk.offsetBytes < HEAD_BYTES ? this.#head : this.#window).push(chunk);
      const keepFrom = this.#arrivedBytes - WINDOW_BYTES;
      while (
        this.#window[0] !== undefined &&
        this.#window[0].offsetBytes + this.#window[0].bytes.length < keepFrom
      ) {
        this.#window.shift();
      }
    }
  }

  #copy(offsetBytes: number, into: Uint8Array): void {
    let at = offsetBytes;
    const end = offsetBytes + into.length;
    for (const chunks of [this.#head, this.#window]) {
      for (let i = firstReaching(chunks, at); i < chunks.length && at < end; i++) {
        const chunk = chunks[i];
        if (chunk === undefined || chunk.offsetBytes > at) break;
        const from = at - chunk.offsetBytes;
        const part = chunk.bytes.subarray(from, Math.min(chunk.bytes.length, from + end - at));
        into.set(part, at - offsetBytes);
        at += part.length;
      }
    }
    if (at < end) throw this.#notSequential(at);
  }

  #notSequential(offsetBytes: number): ImageError {
    return new ImageError('IMAGE_NOT_SEQUENTIAL', `${this.name} cannot be decoded while it arrives`, {
      structure: 'order of the file',
      offsetBytes,
      hint: 'put it into a bucket first and import it from there',
    });
  }

  #wrongLength(which: 'more' | 'less'): StoreError {
    return new StoreError(
      'STORE_IO',
      `${this.name} has ${which} than the ${this.lengthBytes} bytes it was said to have`,
      {
        where: this.name,
        hint: 'send it again',
      },
    );
  }
}

/** Index of the first chunk that ends behind the offset. */
function firstReaching(chunks: readonly Chunk[], offsetBytes: number): number {
  let low = 0;
  let high = chunks.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const chunk = chunks[middle];
    if (chunk !== undefined && chunk.offsetBytes + chunk.bytes.length <= offsetBytes) low = middle + 1;
    else high = middle;
  }
  return low;
}
