import { MIB } from '../bytes/numbers.ts';
import type { StreamChunk } from './image-stream.ts';

const CHUNK_BYTES: number = MIB;

/** Collects the small records of a stream, which follow each other, into chunks of about 1 MiB. */
export class ChunkPacker {
  #startBytes: number;
  /** Used again for every chunk; longer than one by the records that a run adds before it is taken. */
  #buffer = new Uint8Array(0);
  #lengthBytes = 0;

  constructor(startBytes = 0) {
    this.#startBytes = startBytes;
  }

  /** Where the next byte goes. */
  get endBytes(): number {
    return this.#startBytes + this.#lengthBytes;
  }

  /** Copies the bytes. */
  append(bytes: Uint8Array): void {
    this.#room(bytes.length).set(bytes);
  }

  appendZeros(lengthBytes: number): void {
    this.#room(lengthBytes).fill(0);
  }

  /** What was collected, when that is enough for a chunk. */
  *takeFull(checkpoint: () => Uint8Array): Iterable<StreamChunk> {
    if (this.#lengthBytes >= CHUNK_BYTES) yield* this.takeAll(checkpoint);
  }

  *takeAll(checkpoint?: () => Uint8Array): Iterable<StreamChunk> {
    if (this.#lengthBytes === 0) return;
    const bytes = this.#buffer.subarray(0, this.#lengthBytes);
    const offsetBytes = this.#startBytes;
    this.#startBytes += this.#lengthBytes;
    this.#lengthBytes = 0;
    yield checkpoint === undefined ? { offsetBytes, bytes } : { offsetBytes, bytes, checkpoint };
  }

  /** The next bytes of the buffer. */
  #room(lengthBytes: number): Uint8Array {
    const from = this.#lengthBytes;
    const end = from + lengthBytes;
    if (end > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(end, Math.min(2 * this.#buffer.length, 2 * CHUNK_BYTES)));
      larger.set(this.#buffer.subarray(0, from));
      this.#buffer = larger;
    }
    this.#lengthBytes = end;
    return this.#buffer.subarray(from, end);
  }
}
