import { invariant } from '../errors.ts';

const SMALLEST_BYTES = 4096;

/** Lends memory up to a limit; who asks for more waits for what others give back, in the order of asking. */
export class MemoryBudget {
  readonly #limitBytes: number;
  /** Lent and kept for the next. */
  #heldBytes = 0;
  readonly #free = new Map<number, ArrayBuffer[]>();
  readonly #waiting: { readonly sizeBytes: number; readonly resolve: (buffer: ArrayBuffer) => void }[] = [];

  /** A power of two. */
  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** Exactly this long, at most the limit; what it holds is left from before. */
  async take(lengthBytes: number): Promise<Uint8Array> {
    const sizeBytes = Math.max(SMALLEST_BYTES, 2 ** Math.ceil(Math.log2(Math.max(1, lengthBytes))));
    invariant(sizeBytes <= this.#limitBytes, 'one request fits into the memory for all');
    const buffer =
      (this.#waiting.length === 0 ? this.#obtain(sizeBytes) : undefined) ??
      (await new Promise<ArrayBuffer>((resolve) => this.#waiting.push({ sizeBytes, resolve })));
    return new Uint8Array(buffer, 0, lengthBytes);
  }

  /** Gives back what `take` gave; its content may change from now on. */
  give(bytes: Uint8Array): void {
    const buffer = bytes.buffer as ArrayBuffer;
    const free = this.#free.get(buffer.byteLength);
    if (free === undefined) this.#free.set(buffer.byteLength, [buffer]);
    else free.push(buffer);
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const found = this.#obtain(next.sizeBytes);
      if (found === undefined) return;
      this.#waiting.shift();
      next.resolve(found);
    }
  }

  #obtain(sizeBytes: number): ArrayBuffer | undefined {
    const free = this.#free.get(sizeBytes)?.pop();
    if (free !== undefined) return free;
    for (const [otherBytes, others] of this.#free) {
      while (this.#heldBytes + sizeBytes > this.#limitBytes && others.length > 0) {
        others.pop();
        this.#heldBytes -= otherBytes;
      }
    }
    if (this.#heldBytes + sizeBytes > this.#limitBytes) return undefined;
    this.#heldBytes += sizeBytes;
    return new ArrayBuffer(sizeBytes);
  }
}
