import { MIB } from '../bytes/numbers.ts';
import { ImageError, StoreError } from '../errors.ts';
import type { ByteSource } from './byte-source.ts';

/** Kept from the start: where formats that can be decoded front to back have their tables. */
export const HEAD_BYTES: number = 32 * MIB;
/** Kept behind the furthest byte that was asked for: reads that run side by side come out of order. */
export const WINDOW_BYTES: number = 24 * MIB;

/** Chunks shorter than this are put together: a sender of single bytes would cost a hundred times its bytes. */
const SHORT_BYTES = 4096;

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
  /** The chunk that is waited for: a reader that gives up leaves it to the next one. */
  #next: Promise<IteratorResult<Uint8Array>> | undefined;
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
      const { done } = await this.#arrival(signal);
      if (!done) throw this.#wrongLength('more');
    });
  }

  async close(): Promise<void> {
    this.#head = [];
    this.#window = [];
    const ended = this.#stream.return?.();
    // A stream that is stuck in its own wait would hold us too.
    if (this.#next === undefined) await ended;
    else ended?.catch(() => {});
  }

  #inTurn(task: () => Promise<void>): Promise<void> {
    const run = this.#turn.then(task);
    this.#turn = run.catch(() => {});
    return run;
  }

  async #arriveTo(end: number, signal?: AbortSignal): Promise<void> {
    while (this.#arrivedBytes < end) {
      signal?.throwIfAborted();
      const { done, value } = await this.#arrival(signal);
      if (done) throw this.#wrongLength('less');
      const chunk = { offsetBytes: this.#arrivedBytes, bytes: value };
      this.#arrivedBytes += value.length;
      if (this.#arrivedBytes > this.lengthBytes) throw this.#wrongLength('more');
      keep(chunk.offsetBytes < HEAD_BYTES ? this.#head : this.#window, chunk);
      const keepFrom = this.#arrivedBytes - WINDOW_BYTES;
      while (
        this.#window[0] !== undefined &&
        this.#window[0].offsetBytes + this.#window[0].bytes.length < keepFrom
      ) {
        this.#window.shift();
      }
    }
  }

  /** The next chunk; throws the reason when the signal is aborted, even while the sender is silent. */
  async #arrival(signal?: AbortSignal): Promise<IteratorResult<Uint8Array>> {
    signal?.throwIfAborted();
    this.#next ??= this.#stream.next();
    const next = this.#next;
    const arrival = await (signal === undefined ? next : orAborted(next, signal)).catch((error) => {
      if (!signal?.aborted) this.#next = undefined;
      throw error;
    });
    this.#next = undefined;
    return arrival;
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

function orAborted<Value>(value: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort);
    value.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** Adds a chunk, to the one before where both are short. */
function keep(chunks: Chunk[], chunk: Chunk): void {
  const before = chunks.at(-1);
  if (before === undefined || before.bytes.length + chunk.bytes.length > SHORT_BYTES) {
    chunks.push(chunk);
    return;
  }
  const bytes = new Uint8Array(before.bytes.length + chunk.bytes.length);
  bytes.set(before.bytes);
  bytes.set(chunk.bytes, before.bytes.length);
  chunks[chunks.length - 1] = { offsetBytes: before.offsetBytes, bytes };
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
