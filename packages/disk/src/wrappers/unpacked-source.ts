import { MIB } from '../bytes/numbers.ts';
import { ImageError, invariant } from '../errors.ts';
import type { ByteSource } from '../io/byte-source.ts';
import { ChunkWindow } from '../io/chunk-window.ts';
import { AGAIN_PASSES_MAX, FREE_AGAIN_BYTES, HEAD_BYTES, WINDOW_BYTES } from './limits.ts';

/** Longer reads are done in pieces, each of which is kept until it is copied. */
const PIECE_BYTES: number = 4 * MIB;

/** A place where unpacking can begin: the start of a member, a frame, a block. */
export interface UnpackEntry {
  /** Where its first byte stands in what is unpacked. */
  readonly outputBytes: number;
  /** Unpacks from here to the end of the file. A chunk that fills its buffer is its taker's, buffer and all. */
  start(signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined>;
}

/** What is unpacked from a compressed file. */
export interface UnpackedSource extends ByteSource {
  /** Unpacks to their end the parts that were read: their checksums stand there. Throws when one is wrong. */
  drain(signal?: AbortSignal): Promise<void>;
}

/**
 * The bytes inside a compressed file, of known length. Reading forward unpacks once; going back, further than
 * what is kept, unpacks again from the entry before, which is bounded: then IMAGE_NOT_SEQUENTIAL. Memory: 20 MiB
 * and the dictionary. Closing it leaves the file open.
 */
export function unpackedSource(
  name: string,
  lengthBytes: number,
  entries: readonly UnpackEntry[],
  isVerified: boolean,
  againBytesMax: number = FREE_AGAIN_BYTES + AGAIN_PASSES_MAX * lengthBytes,
): UnpackedSource {
  return new RestartingSource(name, lengthBytes, entries, isVerified, againBytesMax);
}

/** At once: the garbage collector would let tens of MiB of such chunks gather first. */
function giveBack({ buffer, byteLength }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}

class RestartingSource implements UnpackedSource {
  readonly name: string;
  readonly lengthBytes: number;
  readonly #entries: readonly UnpackEntry[];
  readonly #kept: ChunkWindow = new ChunkWindow(HEAD_BYTES, WINDOW_BYTES);
  #running: AsyncGenerator<Uint8Array, void, undefined> | undefined;
  #runningSignal: AbortSignal | undefined;
  /** Index of the entry that is being unpacked. */
  #entry = 0;
  /** Entries that were begun, and not unpacked to their end. */
  readonly #unverified: Set<number> = new Set();
  readonly #isVerified: boolean;
  readonly #againBytesMax: number;
  #furthestBytes = 0;
  #againBytes = 0;
  #turn: Promise<void> = Promise.resolve();

  constructor(
    name: string,
    lengthBytes: number,
    entries: readonly UnpackEntry[],
    isVerified: boolean,
    againBytesMax: number,
  ) {
    this.name = name;
    this.lengthBytes = lengthBytes;
    this.#entries = entries;
    this.#isVerified = isVerified;
    this.#againBytesMax = againBytesMax;
  }

  read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    invariant(offsetBytes + into.length <= this.lengthBytes, 'read beyond an unpacked file');
    return this.#inTurn(async () => {
      for (let at = 0; at < into.length; at += PIECE_BYTES) {
        await this.#readPiece(offsetBytes + at, into.subarray(at, at + PIECE_BYTES), signal);
      }
    });
  }

  async #readPiece(offsetBytes: number, into: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    const copied = this.#kept.copy(offsetBytes, into);
    if (copied === into.length) return;
    await this.#approach(offsetBytes + copied);
    while (this.#kept.endBytes < offsetBytes + into.length) {
      if (!(await this.#advance(signal))) throw this.#shorter();
    }
    const rest = into.subarray(copied);
    const isKept = this.#kept.copy(offsetBytes + copied, rest) === rest.length;
    invariant(isKept, 'what was just unpacked is kept');
  }

  drain(signal?: AbortSignal): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#isVerified) return;
      while (this.#unverified.size > 0) {
        const running = this.#running !== undefined && this.#unverified.has(this.#entry);
        if (!running) await this.#startAt(this.#unverified.values().reduce((a, b) => Math.min(a, b)));
        const entry = this.#entry;
        const asked = new Set(this.#unverified);
        while (this.#unverified.has(entry) && (await this.#advance(signal)));
        // The start of the next entry came along, and nobody read it.
        for (const begun of this.#unverified) if (!asked.has(begun)) this.#unverified.delete(begun);
      }
    });
  }

  async close(): Promise<void> {
    this.#kept.clear();
    await this.#stop();
  }

  /** Goes on to a place, or begins again at the nearest entry before it where that is behind, or leaps ahead. */
  async #approach(offsetBytes: number): Promise<void> {
    const entry = this.#entryBefore(offsetBytes);
    const isBehind = offsetBytes < this.#kept.endBytes;
    const isAhead = (this.#entries[entry]?.outputBytes ?? 0) > this.#kept.endBytes;
    if (this.#running === undefined || isBehind || isAhead) await this.#startAt(entry);
  }

  async #startAt(entry: number): Promise<void> {
    await this.#stop();
    this.#entry = entry;
    this.#kept.goTo(this.#entries[entry]?.outputBytes ?? 0);
  }

  async #stop(): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    await running?.return();
  }

  /** Unpacks the next chunk; false at the end of the file. */
  async #advance(signal: AbortSignal | undefined): Promise<boolean> {
    signal?.throwIfAborted();
    if (this.#running === undefined) {
      this.#running = this.#entries[this.#entry]?.start(signal);
      this.#runningSignal = signal;
    }
    invariant(this.#running !== undefined, 'an entry is there to start at');
    const from = this.#kept.endBytes;
    this.#unverified.add(this.#entry);
    let step: IteratorResult<Uint8Array, void>;
    try {
      step = await this.#running.next();
    } catch (error) {
      // The next reader begins again, and this one too when it was another's signal that ended the run.
      const isOthers = this.#runningSignal?.aborted === true && this.#runningSignal !== signal;
      await this.#startAt(this.#entryBefore(from));
      if (isOthers) return true;
      throw error;
    }
    const { done, value } = step;
    if (done) {
      if (from !== this.lengthBytes) throw this.#shorter();
      this.#unverified.delete(this.#entry);
      this.#running = undefined;
      return false;
    }
    const end = from + value.length;
    if (end > this.lengthBytes) throw this.#malformed('gives more than it says');
    this.#kept.add(value);
    giveBack(value);
    for (; (this.#entries[this.#entry + 1]?.outputBytes ?? Number.POSITIVE_INFINITY) < end; this.#entry++) {
      this.#unverified.delete(this.#entry);
      this.#unverified.add(this.#entry + 1);
    }
    this.#count(from, end);
    return true;
  }

  #count(from: number, end: number): void {
    this.#againBytes += Math.max(0, Math.min(end, this.#furthestBytes) - from);
    this.#furthestBytes = Math.max(this.#furthestBytes, end);
    if (this.#againBytes <= this.#againBytesMax) return;
    throw new ImageError('IMAGE_NOT_SEQUENTIAL', `${this.name} would be unpacked again and again`, {
      structure: 'order of the file',
      offsetBytes: end,
      hint: 'the image inside does not stand in the order of its disk: decompress it into a file first',
    });
  }

  /** The last entry that begins at or before a place. */
  #entryBefore(offsetBytes: number): number {
    let low = 0;
    let high = this.#entries.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.#entries[middle]?.outputBytes ?? 0) <= offsetBytes) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #inTurn(task: () => Promise<void>): Promise<void> {
    const run = this.#turn.then(task);
    this.#turn = run.catch(() => {});
    return run;
  }

  #shorter(): ImageError {
    return this.#malformed(`gives less than the ${this.lengthBytes} bytes that it says`);
  }

  #malformed(what: string): ImageError {
    return new ImageError('IMAGE_MALFORMED', `${this.name} ${what}`, { structure: 'compressed file' });
  }
}
