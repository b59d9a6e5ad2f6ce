import { atPlace } from './read.ts';
import type { XmlPlace } from './tree.ts';

/** Gathers what a reader leaves out of the machine, or takes another way than it is written. */
export class Warnings {
  readonly #file: string;
  readonly #all: string[] = [];

  constructor(file: string) {
    this.#file = file;
  }

  /** In the order in which they were told. */
  get all(): readonly string[] {
    return this.#all;
  }

  add({ place }: { readonly place: XmlPlace }, text: string): void {
    this.#all.push(atPlace(this.#file, place, text));
  }

  /** A message about a place, for an error. */
  at({ place }: { readonly place: XmlPlace }, text: string): string {
    return atPlace(this.#file, place, text);
  }
}
