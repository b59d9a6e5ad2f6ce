import { ImageError } from '@gantry/disk';
import type { GuestLimits } from './limits.ts';

/** What is left of what an inspection may cost. Each method throws IMAGE_LIMIT at its end, the signal's reason when aborted. */
export class Budget {
  readonly signal: AbortSignal | undefined;
  readonly #limits: GuestLimits;
  readonly #startMs: number = performance.now();
  #readBytes = 0;
  #steps = 0;

  constructor(limits: GuestLimits, signal?: AbortSignal) {
    this.#limits = limits;
    this.signal = signal;
  }

  /** Before so many bytes are read from the disk. */
  read(lengthBytes: number): void {
    this.#readBytes += lengthBytes;
    if (this.#readBytes > this.#limits.readBytes) throw spent(`${this.#limits.readBytes} bytes were read`);
    this.look();
  }

  /** Before each structure whose number the disk decides. */
  step(): void {
    this.#steps++;
    if (this.#steps > this.#limits.steps) throw spent(`${this.#limits.steps} structures were looked at`);
    if (this.#steps % 1024 === 0) this.look();
  }

  /** From time to time where work is long and reads nothing. */
  look(): void {
    this.signal?.throwIfAborted();
    if (performance.now() - this.#startMs > this.#limits.timeMs)
      throw spent(`${this.#limits.timeMs} ms have passed`);
  }
}

function spent(what: string): ImageError {
  return new ImageError('IMAGE_LIMIT', `the inspection ends here: ${what}`, {
    structure: 'guest inspection',
    hint: 'what was found until then is told; allow more where the disk is trusted',
  });
}
