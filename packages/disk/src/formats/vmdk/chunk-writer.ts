import { MIB, SECTOR_BYTES } from '../../bytes/numbers.ts';
import type { StreamChunk } from '../../view/image-stream.ts';

const CHUNK_BYTES: number = MIB;

/** Gathers the small records of a stream into chunks of 1 MiB, in file order from offset 0. */
export class ChunkWriter {
  #buffer = new Uint8Array(CHUNK_BYTES);
  #used = 0;
  #startBytes = 0;
  #full: StreamChunk[] = [];

  /** Where the next byte goes. */
  get positionBytes(): number {
    return this.#startBytes + this.#used;
  }

  append(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + CHUNK_BYTES - this.#used);
      this.#buffer.set(part, this.#used);
      at += part.length;
      this.#advance(part.length);
    }
  }

  /** Zeros up to the next sector. */
  padSector(): void {
    const over = this.#used % SECTOR_BYTES;
    if (over > 0) this.#advance(SECTOR_BYTES - over);
  }

  #advance(lengthBytes: number): void {
    this.#used += lengthBytes;
    if (this.#used < CHUNK_BYTES) return;
    this.#full.push({ offsetBytes: this.#startBytes, bytes: this.#buffer });
    this.#startBytes += CHUNK_BYTES;
    this.#buffer = new Uint8Array(CHUNK_BYTES);
    this.#used = 0;
  }

  /** The chunks that are complete, each once. They belong to the caller. */
  takeFull(): StreamChunk[] {
    const full = this.#full;
    if (full.length > 0) this.#full = [];
    return full;
  }

  /** What is left at the end of the stream, shorter than a chunk. */
  takeRest(): StreamChunk[] {
    const rest = this.#buffer.subarray(0, this.#used);
    return rest.length === 0 ? [] : [{ offsetBytes: this.#startBytes, bytes: rest }];
  }
}
