/** Directories end below this, so that an owner and an index are one safe integer. */
const INDEX_LIMIT = 2 ** 32;

/** The tables of one extent in a cache. */
export interface CachedTables<Table> {
  get(index: number): Table | undefined;
  set(index: number, table: Table): void;
  has(index: number): boolean;
}

/** Tables that were read, the least recently used going first: one budget for all extents of a disk. */
export class TableCache<Table extends { readonly byteLength: number }> {
  readonly #limitBytes: number;
  readonly #tables = new Map<number, Table>();
  #bytes = 0;
  #ownerCount = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** A place for the tables of one more extent. */
  extent(): CachedTables<Table> {
    const base = this.#ownerCount++ * INDEX_LIMIT;
    return {
      get: (index) => this.#get(base + index),
      set: (index, table) => this.#set(base + index, table),
      has: (index) => this.#tables.has(base + index),
    };
  }

  #get(key: number): Table | undefined {
    const table = this.#tables.get(key);
    if (table === undefined) return undefined;
    this.#tables.delete(key);
    this.#tables.set(key, table);
    return table;
  }

  #set(key: number, table: Table): void {
    this.#bytes += table.byteLength - (this.#tables.get(key)?.byteLength ?? 0);
    this.#tables.delete(key);
    this.#tables.set(key, table);
    for (const [oldest, { byteLength }] of this.#tables) {
      if (this.#bytes <= this.#limitBytes || oldest === key) break;
      this.#tables.delete(oldest);
      this.#bytes -= byteLength;
    }
  }
}
