import { viewOf } from '../../bytes/fields.ts';
import { type ByteSource, requireInside } from '../../io/byte-source.ts';

interface CachedTable {
  readonly bytes: Uint8Array;
  readonly loaded: Promise<DataView>;
  /** How many look at it, or wait for it: its memory is not for another table as long as there are any. */
  userCount: number;
}

/** A table that stays as it is until it is released. */
export interface LeasedTable {
  readonly table: DataView;
  release(): void;
}

/** Tables of a file, read when they are asked for and kept within a budget, the last used longest. */
export class TableCache {
  readonly #source: ByteSource;
  readonly #budgetBytes: number;
  readonly #structure: string;
  readonly #tables = new Map<number, CachedTable>();
  /** Memory of a table that nobody looks at any more: a walk over a large disk needs thousands. */
  #spare: Uint8Array | undefined;

  constructor(source: ByteSource, budgetBytes: number, structure: string) {
    this.#source = source;
    this.#budgetBytes = budgetBytes;
    this.#structure = structure;
  }

  /** The table at this offset. All tables of a cache have about the same length. */
  async table(offsetBytes: number, lengthBytes: number, signal?: AbortSignal): Promise<DataView> {
    // Never released: its memory stays this table's.
    return (await this.lease(offsetBytes, lengthBytes, signal)).table;
  }

  /** The same for as long as it is needed. One that is not released costs memory, and is never wrong. */
  async lease(offsetBytes: number, lengthBytes: number, signal?: AbortSignal): Promise<LeasedTable> {
    let cached = this.#tables.get(offsetBytes);
    if (cached === undefined) {
      signal?.throwIfAborted();
      cached = this.#load(offsetBytes, lengthBytes);
    }
    this.#tables.delete(offsetBytes);
    this.#tables.set(offsetBytes, cached);
    const { loaded } = cached;
    cached.userCount++;
    this.#evict(lengthBytes);
    const release = () => {
      cached.userCount--;
    };
    try {
      return { table: await loaded, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Shared by all that wait for it, so it is not bound to one caller's signal. */
  #load(offsetBytes: number, lengthBytes: number): CachedTable {
    requireInside(this.#source, offsetBytes, lengthBytes, this.#structure);
    const bytes = this.#spare?.length === lengthBytes ? this.#spare : new Uint8Array(lengthBytes);
    this.#spare = undefined;
    const loaded = this.#source.read(offsetBytes, bytes).then(() => viewOf(bytes));
    const cached = { bytes, loaded, userCount: 0 };
    loaded.catch(() => this.#tables.delete(offsetBytes));
    return cached;
  }

  #evict(lengthBytes: number): void {
    const keptCount = Math.max(2, Math.floor(this.#budgetBytes / lengthBytes));
    for (const [offsetBytes, { bytes, userCount }] of this.#tables) {
      if (this.#tables.size <= keptCount) break;
      this.#tables.delete(offsetBytes);
      if (userCount === 0) this.#spare = bytes;
    }
  }
}
