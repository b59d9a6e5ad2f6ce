import { WARNING_COUNT_MAX } from './limits.ts';
import { atPlace } from './read.ts';
import type { XmlPlace } from './tree.ts';

/** Gathers what a reader leaves out of the machine, or takes another way than it is written. */
export class Warnings {
  readonly #file: string;
  readonly #all: string[] = [];
  #leftOutCount = 0;

  constructor(file: string) {
    this.#file = file;
  }

  /** In the order in which they were told; the last counts those beyond the most that are kept. */
  get all(): readonly string[] {
    if (this.#leftOutCount === 0) return this.#all;
    return [...this.#all, atPlace(this.#file, undefined, `${this.#leftOutCount} more warnings`)];
  }

  add({ place }: { readonly place: XmlPlace }, text: string): void {
    if (this.#all.length < WARNING_COUNT_MAX) this.#all.push(atPlace(this.#file, place, text));
    else this.#leftOutCount += 1;
  }

  /** A message about a place, for an error. */
  at({ place }: { readonly place: XmlPlace }, text: string): string {
    return atPlace(this.#file, place, text);
  }
}
