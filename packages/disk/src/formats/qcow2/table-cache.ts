import { viewOf } from '../../bytes/fields.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';

/** Tables of a file, read when they are asked for and kept within a budget, the last used longest. */
export class TableCache {
  readonly #source: ByteSource;
  readonly #budgetBytes: number;
  readonly #structure: string;
  readonly #tables = new Map<number, Promise<DataView>>();

  constructor(source: ByteSource, budgetBytes: number, structure: string) {
    this.#source = source;
    this.#budgetBytes = budgetBytes;
    this.#structure = structure;
  }

  /** The table at this offset. All tables of a cache have about the same length. */
  async table(offsetBytes: number, lengthBytes: number, signal?: AbortSignal): Promise<DataView> {
    const cached = this.#tables.get(offsetBytes);
    if (cached !== undefined) {
      this.#tables.delete(offsetBytes);
      this.#tables.set(offsetBytes, cached);
      return cached;
    }
    signal?.throwIfAborted();
    // Shared by all that wait for it, so it is not bound to one caller's signal.
    const table = readStructure(this.#source, offsetBytes, lengthBytes, this.#structure).then(viewOf);
    table.catch(() => this.#tables.delete(offsetBytes));
    this.#tables.set(offsetBytes, table);
    const keptCount = Math.max(2, Math.floor(this.#budgetBytes / lengthBytes));
    for (const oldest of this.#tables.keys()) {
      if (this.#tables.size <= keptCount) break;
      this.#tables.delete(oldest);
    }
    return table;
  }
}
