/** Shared memory that is used again: fresh memory costs page faults, and a thread cannot see any other. */
export class SlotPool {
  readonly #free: Uint8Array[] = [];

  /** At least this long; what it holds is left from before. */
  take(lengthBytes: number): Uint8Array {
    const at = this.#free.findIndex((slot) => slot.length >= lengthBytes);
    if (at >= 0) return this.#free.splice(at, 1)[0] as Uint8Array;
    // One that is too short is let go: the lengths of a conversion grow once, if ever.
    this.#free.pop();
    return new Uint8Array(new SharedArrayBuffer(lengthBytes));
  }

  /** Gives back a slot from `take`; its content may change from now on. */
  give(slot: Uint8Array): void {
    this.#free.push(slot);
  }
}
