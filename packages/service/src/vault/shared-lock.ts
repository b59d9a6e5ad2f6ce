/** Many may hold it shared, or one exclusively; in the order of asking, so that nobody waits for ever. */
export class SharedLock {
  #holders = 0;
  #exclusive = false;
  readonly #queue: { exclusive: boolean; enter(): void }[] = [];

  shared<Result>(run: () => Promise<Result>): Promise<Result> {
    return this.#hold(false, run);
  }

  exclusive<Result>(run: () => Promise<Result>): Promise<Result> {
    return this.#hold(true, run);
  }

  async #hold<Result>(exclusive: boolean, run: () => Promise<Result>): Promise<Result> {
    await new Promise<void>((enter) => {
      this.#queue.push({ exclusive, enter });
      this.#admit();
    });
    try {
      return await run();
    } finally {
      this.#holders--;
      this.#exclusive = false;
      this.#admit();
    }
  }

  #admit(): void {
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      if (this.#exclusive || (next.exclusive && this.#holders > 0)) return;
      this.#queue.shift();
      this.#holders++;
      this.#exclusive = next.exclusive;
      next.enter();
    }
  }
}
