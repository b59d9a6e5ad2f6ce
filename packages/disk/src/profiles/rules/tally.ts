import type { Breach } from '../profile.ts';

/** How often something was met, and where first. */
export class Tally {
  #count = 0;
  #firstBytes: number | undefined;

  add(offsetBytes: number): void {
    this.#count++;
    this.#firstBytes ??= offsetBytes;
  }

  /** Undefined when it was never met. */
  breach(structure: string, what: string): Breach | undefined {
    if (this.#count === 0) return undefined;
    return { message: `${this.#count} ${what}`, structure, offsetBytes: this.#firstBytes };
  }
}
