import { MIB } from '../bytes/numbers.ts';
import type { StreamChunk } from './image-stream.ts';

const CHUNK_BYTES: number = MIB;

/** Lent bytes that are fewer are not worth a chunk of their own. */
const LENT_BYTES: number = MIB / 8;

/** Collects the small records of a stream, which follow each other, into chunks of about 1 MiB. */
export class ChunkPacker {
  #startBytes: number;
  /** Used again for every chunk; longer than one by the records that a run adds before it is taken. */
  #buffer = new Uint8Array(0);
  #lengthBytes = 0;
  /** All that was collected, where it stands as one in the lender's memory; nothing is in the buffer then. */
  #lent: Uint8Array | undefined;

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

  /** The same with bytes that stay as they are until `takeLent`: those that follow each other are not copied. */
  lend(bytes: Uint8Array): void {
    const lent = this.#lent;
    const follows = lent?.buffer === bytes.buffer && lent.byteOffset + lent.length === bytes.byteOffset;
    if (!follows && this.#lengthBytes > 0) {
      this.append(bytes);
      return;
    }
    this.#lent = follows ? new Uint8Array(lent.buffer, lent.byteOffset, lent.length + bytes.length) : bytes;
    this.#lengthBytes += bytes.length;
  }

  appendZeros(lengthBytes: number): void {
    this.#room(lengthBytes).fill(0);
  }

  /** What was collected, when that is enough for a chunk. */
  *takeFull(checkpoint: () => Uint8Array): Iterable<StreamChunk> {
    if (this.#lengthBytes >= CHUNK_BYTES) yield* this.takeAll(checkpoint);
  }

  /** The same, and before the lender takes back what it has lent: nothing refers to that afterwards. */
  *takeLent(checkpoint: () => Uint8Array): Iterable<StreamChunk> {
    if ((this.#lent?.length ?? 0) >= LENT_BYTES) yield* this.takeAll(checkpoint);
    this.#keepLent();
    yield* this.takeFull(checkpoint);
  }

  *takeAll(checkpoint?: () => Uint8Array): Iterable<StreamChunk> {
    if (this.#lengthBytes === 0) return;
    const bytes = this.#lent ?? this.#buffer.subarray(0, this.#lengthBytes);
    const offsetBytes = this.#startBytes;
    this.#startBytes += this.#lengthBytes;
    this.#lengthBytes = 0;
    this.#lent = undefined;
    yield checkpoint === undefined ? { offsetBytes, bytes } : { offsetBytes, bytes, checkpoint };
  }

  #keepLent(): void {
    const lent = this.#lent;
    if (lent === undefined) return;
    this.#lent = undefined;
    this.#lengthBytes = 0;
    this.append(lent);
  }

  /** The next bytes of the buffer. */
  #room(lengthBytes: number): Uint8Array {
    this.#keepLent();
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
