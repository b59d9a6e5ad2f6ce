import { MIB } from '../bytes/numbers.ts';
import type { StreamChunk } from './image-stream.ts';

const CHUNK_BYTES: number = MIB;

/** Collects the small records of a stream, which follow each other, into chunks of about 1 MiB. */
export class ChunkPacker {
  #startBytes: number;
  #parts: Uint8Array[] = [];
  #lengthBytes = 0;

  constructor(startBytes = 0) {
    this.#startBytes = startBytes;
  }

  /** Where the next byte goes. */
  get endBytes(): number {
    return this.#startBytes + this.#lengthBytes;
  }

  /** The bytes are copied when a chunk is taken, not before. */
  append(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.#lengthBytes += bytes.length;
  }

  /** What was collected, when that is enough for a chunk. */
  *takeFull(checkpoint: () => Uint8Array): Iterable<StreamChunk> {
    if (this.#lengthBytes >= CHUNK_BYTES) yield* this.takeAll(checkpoint);
  }

  *takeAll(checkpoint?: () => Uint8Array): Iterable<StreamChunk> {
    if (this.#lengthBytes === 0) return;
    const bytes = new Uint8Array(this.#lengthBytes);
    let at = 0;
    for (const part of this.#parts) {
      bytes.set(part, at);
      at += part.length;
    }
    const offsetBytes = this.#startBytes;
    this.#startBytes += this.#lengthBytes;
    this.#parts = [];
    this.#lengthBytes = 0;
    yield checkpoint === undefined ? { offsetBytes, bytes } : { offsetBytes, bytes, checkpoint };
  }
}
