interface Entry<Value> {
  readonly making: Promise<Value>;
  users: number;
  dropped: boolean;
}

/**
 * Keeps the values that were used last, and disposes of each when it is neither kept nor in use: buffers go
 * round, where the garbage collector would let tens of MiB of them gather.
 */
export class PinnedCache<Value> {
  readonly #limit: number;
  readonly #dispose: (value: Value) => void;
  /** Least recently used first. */
  readonly #entries: Map<string, Entry<Value>> = new Map();

  constructor(limit: number, dispose: (value: Value) => void) {
    this.#limit = limit;
    this.#dispose = dispose;
  }

  /**
   * Runs `use` with the value of a key, made when it is not there; those who ask for it meanwhile wait for the
   * same one. The value is good until `use` returns. One that fails to be made, or to be used, is not kept.
   */
  async use<Result>(
    key: string,
    make: () => Promise<Value>,
    use: (value: Value) => Result | Promise<Result>,
  ): Promise<Result> {
    const entry = this.#entries.get(key) ?? { making: make(), users: 0, dropped: false };
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    entry.users++;
    for (const [oldest, other] of this.#entries) {
      if (this.#entries.size <= this.#limit) break;
      this.#drop(oldest, other);
    }
    try {
      return await use(await entry.making);
    } catch (error) {
      this.#drop(key, entry);
      throw error;
    } finally {
      entry.users--;
      this.#disposeUnused(entry);
    }
  }

  #drop(key: string, entry: Entry<Value>): void {
    if (entry.dropped) return;
    entry.dropped = true;
    if (this.#entries.get(key) === entry) this.#entries.delete(key);
    this.#disposeUnused(entry);
  }

  #disposeUnused(entry: Entry<Value>): void {
    if (!entry.dropped || entry.users > 0) return;
    entry.making.then(this.#dispose, () => {});
  }
}
