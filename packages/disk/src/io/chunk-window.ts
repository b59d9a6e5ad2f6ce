/** Chunks shorter than this are put together: a sender of single bytes would cost a hundred times its bytes. */
const SHORT_BYTES = 4096;

interface Chunk {
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
}

/** What is kept of bytes that go by in order: those of the start, and the newest. */
export class ChunkWindow {
  readonly #headBytes: number;
  readonly #windowBytes: number;
  #head: Chunk[] = [];
  #window: Chunk[] = [];
  #headEnd = 0;
  #endBytes = 0;

  constructor(headBytes: number, windowBytes: number) {
    this.#headBytes = headBytes;
    this.#windowBytes = windowBytes;
  }

  /** Where the next chunk goes. */
  get endBytes(): number {
    return this.#endBytes;
  }

  /** Adds the chunk that follows the one before. */
  add(bytes: Uint8Array): void {
    const chunk = { offsetBytes: this.#endBytes, bytes };
    this.#endBytes += bytes.length;
    if (chunk.offsetBytes < this.#headBytes) {
      // Of what comes by again, the start is there already.
      if (chunk.offsetBytes === this.#headEnd) {
        keep(this.#head, chunk);
        this.#headEnd = this.#endBytes;
        return;
      }
      if (this.#endBytes <= this.#headEnd) return;
    }
    keep(this.#window, chunk);
    const keepFrom = this.#endBytes - this.#windowBytes;
    let passed = 0;
    for (const { offsetBytes, bytes: kept } of this.#window) {
      if (offsetBytes + kept.length >= keepFrom) break;
      passed++;
    }
    if (passed > 0) this.#window.splice(0, passed);
  }

  /** What comes next stands at this place: the window is dropped, the start stays. */
  goTo(offsetBytes: number): void {
    this.#window = [];
    this.#endBytes = offsetBytes;
  }

  /** Forgets everything that is kept. */
  clear(): void {
    this.#head = [];
    this.#window = [];
  }

  /** What is kept from a place on, as far as one chunk reaches; undefined when that place is not kept. */
  chunkAt(offsetBytes: number): Uint8Array | undefined {
    for (const chunks of [this.#head, this.#window]) {
      const chunk = chunks[firstReaching(chunks, offsetBytes)];
      if (chunk !== undefined && chunk.offsetBytes <= offsetBytes) {
        return chunk.bytes.subarray(offsetBytes - chunk.offsetBytes);
      }
    }
    return undefined;
  }

  /** Fills `into` from `offsetBytes`; gives how many bytes were there, from the first one on. */
  copy(offsetBytes: number, into: Uint8Array): number {
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
    return at - offsetBytes;
  }
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
