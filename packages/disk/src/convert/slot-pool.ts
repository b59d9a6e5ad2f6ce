import { sharedMemory } from '../bytes/shared-memory.ts';

/** Shared memory that is used again: fresh memory costs page faults, and a thread cannot see any other. */
export class SlotPool {
  readonly #free: Uint8Array[] = [];
  #usualBytes: number;

  /** `usualBytes` is what nearly all slots have to hold; it grows with what is asked for. */
  constructor(usualBytes: number) {
    this.#usualBytes = usualBytes;
  }

  /** At least this long; what it holds is left from before. */
  take(lengthBytes: number): Uint8Array {
    if (lengthBytes > this.#usualBytes) {
      // The lengths of a conversion grow once, if ever: thrown away each time, such slots would gather.
      this.#usualBytes = lengthBytes;
      this.#free.length = 0;
    }
    return this.#free.pop() ?? new Uint8Array(sharedMemory(this.#usualBytes));
  }

  /** Gives back a slot from `take`; its content may change from now on. */
  give(slot: Uint8Array): void {
    if (slot.length === this.#usualBytes) this.#free.push(slot);
  }
}
