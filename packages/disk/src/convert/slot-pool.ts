import { sharedMemory } from '../bytes/shared-memory.ts';

/** Shared memory that is used again: fresh memory costs page faults, and a thread cannot see any other. */
export class SlotPool {
  readonly #free: Uint8Array[] = [];
  readonly #usualBytes: number;

  /** `usualBytes` is what nearly all slots have to hold. */
  constructor(usualBytes: number) {
    this.#usualBytes = usualBytes;
  }

  /** At least this long; what it holds is left from before. */
  take(lengthBytes: number): Uint8Array {
    const slot = lengthBytes > this.#usualBytes ? undefined : this.#free.pop();
    return slot ?? new Uint8Array(sharedMemory(Math.max(lengthBytes, this.#usualBytes)));
  }

  /** Gives back a slot from `take`; its content may change from now on. */
  give(slot: Uint8Array): void {
    if (slot.length === this.#usualBytes) this.#free.push(slot);
  }
}
