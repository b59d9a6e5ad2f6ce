import { ImageError } from '../errors.ts';

/** Takes pieces of a given length from a stream of chunks. */
export class ByteReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #structure: string;
  #chunk: Uint8Array = new Uint8Array();
  #at = 0;
  #takenBytes = 0;

  /** `structure` is named when the stream ends too early. */
  constructor(chunks: AsyncIterable<Uint8Array>, structure: string) {
    this.#chunks = chunks[Symbol.asyncIterator]();
    this.#structure = structure;
  }

  /** Bytes taken so far. */
  get takenBytes(): number {
    return this.#takenBytes;
  }

  /** The next bytes, valid until the next call. Throws IMAGE_TRUNCATED when the stream ends before. */
  async take(lengthBytes: number): Promise<Uint8Array> {
    if (this.#chunk.length - this.#at >= lengthBytes) return this.#cut(lengthBytes);
    const bytes = new Uint8Array(lengthBytes);
    let filled = 0;
    while (filled < lengthBytes) {
      if (!(await this.#refill())) {
        throw new ImageError('IMAGE_TRUNCATED', `${this.#structure} ends in its middle`, {
          structure: this.#structure,
          offsetBytes: this.#takenBytes,
        });
      }
      const part = this.#cut(Math.min(lengthBytes - filled, this.#chunk.length - this.#at));
      bytes.set(part, filled);
      filled += part.length;
    }
    return bytes;
  }

  async byte(): Promise<number> {
    if (this.#at < this.#chunk.length) {
      this.#takenBytes++;
      return this.#chunk[this.#at++] as number;
    }
    return (await this.take(1))[0] as number;
  }

  /** True when nothing follows. */
  async atEnd(): Promise<boolean> {
    return !(await this.#refill());
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }

  #cut(lengthBytes: number): Uint8Array {
    const part = this.#chunk.subarray(this.#at, this.#at + lengthBytes);
    this.#at += lengthBytes;
    this.#takenBytes += lengthBytes;
    return part;
  }

  /** Makes sure that a byte is at hand; false at the end. */
  async #refill(): Promise<boolean> {
    while (this.#at === this.#chunk.length) {
      const { done, value } = await this.#chunks.next();
      if (done) return false;
      this.#chunk = value;
      this.#at = 0;
    }
    return true;
  }
}
