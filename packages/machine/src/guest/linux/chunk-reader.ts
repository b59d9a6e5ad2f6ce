/** Reads a stream of chunks by lengths. */
export class ChunkReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #held: Uint8Array = new Uint8Array();

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** The next bytes, which stay; fewer only at the end. */
  async peek(lengthBytes: number): Promise<Uint8Array> {
    while (this.#held.length < lengthBytes) {
      const next = await this.#chunks.next();
      if (next.done === true) break;
      const joined = new Uint8Array(this.#held.length + next.value.length);
      joined.set(this.#held);
      joined.set(next.value, this.#held.length);
      this.#held = joined;
    }
    return this.#held.subarray(0, lengthBytes);
  }

  /** The next bytes; undefined when fewer are left. */
  async take(lengthBytes: number): Promise<Uint8Array | undefined> {
    const bytes = await this.peek(lengthBytes);
    if (bytes.length < lengthBytes) return undefined;
    this.#held = this.#held.subarray(lengthBytes);
    return bytes;
  }

  /** Passes bytes by, without keeping them; false when fewer are left. */
  async skip(lengthBytes: number): Promise<boolean> {
    let left = lengthBytes;
    for (;;) {
      const passed = Math.min(left, this.#held.length);
      this.#held = this.#held.subarray(passed);
      left -= passed;
      if (left === 0) return true;
      const next = await this.#chunks.next();
      if (next.done === true) return false;
      this.#held = next.value;
    }
  }

  /** Passes zeros by, which stand between archives; false at the end. */
  async skipZeros(): Promise<boolean> {
    for (;;) {
      const at = this.#held.findIndex((byte) => byte !== 0);
      if (at >= 0) {
        this.#held = this.#held.subarray(at);
        return true;
      }
      const next = await this.#chunks.next();
      this.#held = new Uint8Array();
      if (next.done === true) return false;
      this.#held = next.value;
    }
  }

  /** All that is left. */
  async *rest(): AsyncGenerator<Uint8Array, void, undefined> {
    if (this.#held.length > 0) yield this.#held;
    this.#held = new Uint8Array();
    for (;;) {
      const next = await this.#chunks.next();
      if (next.done === true) return;
      yield next.value;
    }
  }

  /** Ends what the chunks come from. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}
