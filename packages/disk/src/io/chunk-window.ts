const FIRST_BYTES: number = 64 * 1024;
const CHUNK_BYTES: number = 1024 * 1024;

/** What is kept of bytes that go by in order: those of the start, and the newest. They are copied. */
export class ChunkWindow {
  readonly #headBytes: number;
  readonly #windowBytes: number;
  /** Grows up to `headBytes`; the first `headEnd` bytes are there. */
  #head: Uint8Array = new Uint8Array();
  #headEnd = 0;
  /** A ring that grows up to `windowBytes`: the byte at `offset` stands at `offset` modulo its length. */
  #ring: Uint8Array = new Uint8Array();
  #ringStart = 0;
  #endBytes = 0;

  constructor(headBytes: number, windowBytes: number) {
    this.#headBytes = headBytes;
    this.#windowBytes = windowBytes;
  }

  /** Where the next bytes go. */
  get endBytes(): number {
    return this.#endBytes;
  }

  /** Adds the bytes that follow those before. */
  add(bytes: Uint8Array): void {
    // Of what comes by again, the start is there already.
    const known = Math.min(bytes.length, Math.max(0, this.#headEnd - this.#endBytes));
    const toHead =
      this.#endBytes > this.#headEnd ? 0 : Math.min(bytes.length - known, this.#headBytes - this.#headEnd);
    this.#endBytes += bytes.length;
    this.#addToHead(bytes.subarray(known, known + toHead));
    this.#addToRing(bytes.subarray(known + toHead));
  }

  /** What comes next stands at this place: the window is dropped, the start stays. */
  goTo(offsetBytes: number): void {
    this.#endBytes = offsetBytes;
    this.#ringStart = offsetBytes;
  }

  /** Forgets everything that is kept. */
  clear(): void {
    this.#head = new Uint8Array();
    this.#headEnd = 0;
    this.#ring = new Uint8Array();
    this.#ringStart = this.#endBytes;
  }

  /** What is kept from a place on, a copy of at most 1 MiB; undefined when that place is not kept. */
  chunkAt(offsetBytes: number): Uint8Array | undefined {
    // The start is there even when the window went back before its end.
    const behindBytes = Math.max(0, Math.max(this.#headEnd, this.#endBytes) - offsetBytes);
    const chunk = new Uint8Array(Math.min(CHUNK_BYTES, behindBytes));
    const lengthBytes = this.copy(offsetBytes, chunk);
    return lengthBytes === 0 ? undefined : chunk.subarray(0, lengthBytes);
  }

  /** Fills `into` from `offsetBytes`; gives how many bytes were there, from the first one on. */
  copy(offsetBytes: number, into: Uint8Array): number {
    const fromHead = this.#head.subarray(offsetBytes, Math.min(this.#headEnd, offsetBytes + into.length));
    into.set(fromHead);
    let done = fromHead.length;
    if (offsetBytes + done < this.#ringStart) return done;
    const end = Math.min(offsetBytes + into.length, this.#endBytes);
    while (offsetBytes + done < end) {
      const at = (offsetBytes + done) % this.#ring.length;
      const part = this.#ring.subarray(at, at + end - offsetBytes - done);
      into.set(part, done);
      done += part.length;
    }
    return done;
  }

  #addToHead(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#head = grown(this.#head, this.#headEnd + bytes.length, this.#headBytes, (larger) =>
      larger.set(this.#head.subarray(0, this.#headEnd)),
    );
    this.#head.set(bytes, this.#headEnd);
    this.#headEnd += bytes.length;
  }

  /** Takes what the window is long enough for: the newest. */
  #addToRing(bytes: Uint8Array): void {
    const start = this.#endBytes - bytes.length;
    // What the start holds is not in the ring.
    const heldStart = Math.min(Math.max(this.#ringStart, this.#headEnd), start);
    this.#ringStart = heldStart;
    if (bytes.length === 0) return;
    const wanted = Math.min(this.#windowBytes, this.#endBytes - heldStart);
    this.#ring = grown(this.#ring, wanted, this.#windowBytes, (larger) => {
      for (let at = heldStart; at < start; ) {
        const from = at % this.#ring.length;
        const to = at % larger.length;
        const lengthBytes = Math.min(this.#ring.length - from, larger.length - to, start - at);
        larger.set(this.#ring.subarray(from, from + lengthBytes), to);
        at += lengthBytes;
      }
    });
    const kept = bytes.subarray(Math.max(0, bytes.length - this.#ring.length));
    for (let done = 0; done < kept.length; ) {
      const at = (this.#endBytes - kept.length + done) % this.#ring.length;
      const part = kept.subarray(done, done + this.#ring.length - at);
      this.#ring.set(part, at);
      done += part.length;
    }
    this.#ringStart = Math.max(this.#ringStart, this.#endBytes - this.#ring.length);
  }
}

/**
 * The buffer, or one of at least `wantedBytes`. Beyond a few short ones it has the full length at once: memory that
 * nobody has written to is none, where buffers that double leave as much again behind them.
 */
function grown(
  buffer: Uint8Array,
  wantedBytes: number,
  mostBytes: number,
  fill: (larger: Uint8Array) => void,
): Uint8Array {
  if (wantedBytes <= buffer.length) return buffer;
  const lengthBytes = [FIRST_BYTES, CHUNK_BYTES].find((length) => length >= wantedBytes) ?? mostBytes;
  const larger = new Uint8Array(Math.min(mostBytes, lengthBytes));
  fill(larger);
  return larger;
}
