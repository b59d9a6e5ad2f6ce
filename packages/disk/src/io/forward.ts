import { MIB } from '../bytes/numbers.ts';
import { ImageError, StoreError } from '../errors.ts';
import type { ByteSource } from './byte-source.ts';
import { ChunkWindow } from './chunk-window.ts';

/** Kept from the start: where formats that can be decoded front to back have their tables. */
export const HEAD_BYTES: number = 32 * MIB;
/** Kept behind the furthest byte that was asked for: reads that run side by side come out of order. */
export const WINDOW_BYTES: number = 24 * MIB;

/** What stands for the length of a stream as long as it is not known: 64 TiB, above any file of an image. */
const OPEN_LENGTH_BYTES: number = 2 ** 46;
/** Longer reads are done in pieces, each of which is kept until it is copied. */
const PIECE_BYTES: number = 8 * MIB;
/** What the recognition of formats looks at has arrived when a source is made. */
const PROBE_BYTES: number = 64 * 1024;

/** A source that arrives once, front to back. */
export interface ForwardSource extends ByteSource {
  /** Takes the rest in and checks that the stream was as long as it was said to be. */
  drain(signal?: AbortSignal): Promise<void>;
}

/** One whose length nobody said. */
export type OpenEndedSource = ForwardSource & Required<Pick<ByteSource, 'openEnded' | 'rest'>>;

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

/**
 * The same for a stream whose length nobody said: a pipe. Short ones are known to their end when this returns;
 * the end of others is where it comes, and an image that is cut there is IMAGE_TRUNCATED.
 */
export async function openEndedSource(
  stream: AsyncIterable<Uint8Array>,
  name: string,
  signal?: AbortSignal,
): Promise<OpenEndedSource> {
  const source = new ArrivingSource(stream, undefined, name);
  await source.begin(PROBE_BYTES, signal);
  return source;
}

class ArrivingSource implements OpenEndedSource {
  readonly name: string;
  readonly sequential = true;
  readonly #stream: AsyncIterator<Uint8Array>;
  readonly #isLengthSaid: boolean;
  #lengthBytes: number | undefined;
  readonly #kept: ChunkWindow = new ChunkWindow(HEAD_BYTES, WINDOW_BYTES);
  /** Nothing is kept any more: the rest goes by. */
  #isPassing = false;
  /** The chunk that is waited for: a reader that gives up leaves it to the next one. */
  #next: Promise<IteratorResult<Uint8Array>> | undefined;
  #turn: Promise<void> = Promise.resolve();

  constructor(stream: AsyncIterable<Uint8Array>, lengthBytes: number | undefined, name: string) {
    this.#stream = stream[Symbol.asyncIterator]();
    this.#lengthBytes = lengthBytes;
    this.#isLengthSaid = lengthBytes !== undefined;
    this.name = name;
  }

  get lengthBytes(): number {
    return this.#lengthBytes ?? OPEN_LENGTH_BYTES;
  }

  get openEnded(): boolean {
    return this.#lengthBytes === undefined;
  }

  /** Takes the start in, as much as there is of it. */
  begin(lengthBytes: number, signal?: AbortSignal): Promise<void> {
    return this.#inTurn(async () => {
      while (this.#kept.endBytes < lengthBytes && (await this.#arrive(signal)) !== undefined);
    });
  }

  read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    return this.#inTurn(async () => {
      for (let at = 0; at < into.length; at += PIECE_BYTES) {
        await this.#readPiece(offsetBytes + at, into.subarray(at, at + PIECE_BYTES), signal);
      }
    });
  }

  async #readPiece(offsetBytes: number, into: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    const end = offsetBytes + into.length;
    if (offsetBytes > this.#kept.endBytes + WINDOW_BYTES && offsetBytes > HEAD_BYTES)
      throw this.#notSequential(offsetBytes);
    while (this.#kept.endBytes < end) {
      if ((await this.#arrive(signal)) === undefined) throw this.#ended(end);
    }
    const copied = this.#kept.copy(offsetBytes, into);
    if (copied < into.length) throw this.#notSequential(offsetBytes + copied);
  }

  async *rest(fromBytes: number, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    let at = fromBytes;
    for (;;) {
      const kept = this.#kept.chunkAt(at);
      if (kept !== undefined) {
        yield kept;
        at += kept.length;
        continue;
      }
      if (at < this.#kept.endBytes) throw this.#notSequential(at);
      this.#isPassing = true;
      this.#kept.clear();
      const arrived = await this.#arrive(signal);
      if (arrived === undefined) break;
      const skipped = Math.max(0, arrived.length - (this.#kept.endBytes - at));
      if (skipped >= arrived.length) continue;
      yield arrived.subarray(skipped);
      at += arrived.length - skipped;
    }
    if (at < this.lengthBytes) throw this.#ended(this.lengthBytes);
  }

  drain(signal?: AbortSignal): Promise<void> {
    return this.#inTurn(async () => {
      while ((await this.#arrive(signal)) !== undefined);
      if (this.#kept.endBytes < this.lengthBytes) throw this.#ended(this.lengthBytes);
    });
  }

  async close(): Promise<void> {
    this.#isPassing = true;
    this.#kept.clear();
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

  /** Takes the next chunk in; undefined at the end, whose place is known from then on. */
  async #arrive(signal?: AbortSignal): Promise<Uint8Array | undefined> {
    const { done, value } = await this.#arrival(signal);
    if (done) {
      this.#lengthBytes ??= this.#kept.endBytes;
      return undefined;
    }
    if (this.#isPassing) this.#kept.goTo(this.#kept.endBytes + value.length);
    else this.#kept.add(value);
    if (this.#kept.endBytes > this.lengthBytes) throw this.#wrongLength('more');
    return value;
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

  #notSequential(offsetBytes: number): ImageError {
    return new ImageError('IMAGE_NOT_SEQUENTIAL', `${this.name} cannot be decoded while it arrives`, {
      structure: 'order of the file',
      offsetBytes,
      hint: 'put it into a file or a bucket first, and take it from there',
    });
  }

  /** Bytes up to `wantedBytes` were asked for, and the stream ended before. */
  #ended(wantedBytes: number): Error {
    if (this.#isLengthSaid) return this.#wrongLength('less');
    const { endBytes } = this.#kept;
    return new ImageError(
      'IMAGE_TRUNCATED',
      `${this.name} ended after ${endBytes} bytes, in the middle of the image`,
      {
        structure: `bytes up to ${wantedBytes}`,
        offsetBytes: endBytes,
        hint: 'look whether what writes into the pipe failed, and start it again',
      },
    );
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
