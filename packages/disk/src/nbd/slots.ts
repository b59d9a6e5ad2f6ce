/** Places for work at the same time; who finds none waits, in the order of asking. */
export class Slots {
  readonly #count: number;
  #used = 0;
  readonly #waiting: (() => void)[] = [];
  readonly #idling: { readonly mostUsed: number; readonly resolve: () => void }[] = [];

  constructor(count: number) {
    this.#count = count;
  }

  async take(): Promise<void> {
    if (this.#used >= this.#count) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#used++;
  }

  give(): void {
    const next = this.#waiting.shift();
    if (next !== undefined) {
      // The place passes on.
      next();
      return;
    }
    this.#used--;
    for (const each of this.#idling.splice(0)) {
      if (this.#used <= each.mostUsed) each.resolve();
      else this.#idling.push(each);
    }
  }

  /** Settles when no more places than these are in use. */
  async idle(mostUsed = 0): Promise<void> {
    if (this.#used <= mostUsed) return;
    await new Promise<void>((resolve) => this.#idling.push({ mostUsed, resolve }));
  }
}
