interface Waiting<Item, Result> {
  readonly item: Item;
  resolve(result: Result): void;
  reject(error: unknown): void;
}

/**
 * Gathers items that come one by one into batches, one batch at a time: a batch starts when `limit` items
 * wait, or when no more are on their way.
 */
export class Batcher<Item, Result> {
  readonly #limit: number;
  readonly #run: (items: readonly Item[]) => Promise<readonly Result[]>;
  #expected = 0;
  #running = false;
  readonly #waiting: Waiting<Item, Result>[] = [];

  /** `run` gives one result for each item, in their order. */
  constructor(limit: number, run: (items: readonly Item[]) => Promise<readonly Result[]>) {
    this.#limit = limit;
    this.#run = run;
  }

  /** Makes an item that others may be batched with, and adds it. */
  async add(making: Promise<Item>): Promise<Result> {
    this.#expected++;
    let item: Item;
    try {
      item = await making;
    } catch (error) {
      this.#expected--;
      this.#start();
      throw error;
    }
    this.#expected--;
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      this.#start();
    });
  }

  #start(): void {
    if (this.#running || this.#waiting.length === 0) return;
    if (this.#waiting.length < this.#limit && this.#expected > 0) return;
    this.#running = true;
    void this.#finish(this.#waiting.splice(0));
  }

  async #finish(batch: readonly Waiting<Item, Result>[]): Promise<void> {
    try {
      const results = await this.#run(batch.map((waiting) => waiting.item));
      for (const [i, waiting] of batch.entries()) waiting.resolve(results[i] as Result);
    } catch (error) {
      for (const waiting of batch) waiting.reject(error);
    }
    this.#running = false;
    this.#start();
  }
}
