/** Buffers of one size that are used again: fresh ones cost page faults and garbage. */
export class BufferPool {
  readonly #free: Uint8Array[] = [];
  readonly #sizeBytes: number;

  constructor(sizeBytes: number) {
    this.#sizeBytes = sizeBytes;
  }

  take(): Uint8Array {
    return this.#free.pop() ?? new Uint8Array(this.#sizeBytes);
  }

  /** Gives back a buffer from `take`; its content may change from now on. */
  give(buffer: Uint8Array): void {
    this.#free.push(buffer);
  }
}
