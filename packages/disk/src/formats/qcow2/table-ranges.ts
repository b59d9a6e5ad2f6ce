import { ceilDivide } from '../../bytes/numbers.ts';
import { AllocationMap } from '../../view/allocation-map.ts';
import type { Piece } from '../../view/layout.ts';
import { cutPieces, type Region } from '../../view/regions.ts';

/** Which L2 tables a map needs; its blocks are the guest ranges of one table each. */
export function usedTables(map: AllocationMap, l2EntryCount: number): AllocationMap {
  const tableCount = ceilDivide(map.blockCount, l2EntryCount);
  function* used(): Iterable<number> {
    for (let i = 0; i < tableCount; i++) if (map.hasAny(i * l2EntryCount, (i + 1) * l2EntryCount)) yield i;
  }
  return AllocationMap.ofBlocks(map.blockBytes * l2EntryCount, tableCount, used());
}

interface RangeParts {
  /** Blocks with data, each whole in the file. */
  readonly data: AllocationMap;
  /** Tables with any entry. */
  readonly tables: AllocationMap;
  /** Where the first table stands in the file. */
  readonly startBytes: number;
  /** Entries of a table, which is as long as a block. */
  readonly tableBlocks: number;
  /** The table of the blocks [first, end), whose data begins at this place in the file; a block long. */
  readonly table: (first: number, end: number, dataOffsetBytes: number) => readonly Piece[];
}

/** The used tables of a file, each before the data of its range. Ranks count used tables. */
export class TableRanges {
  readonly #parts: RangeParts;

  constructor(parts: RangeParts) {
    this.#parts = parts;
  }

  /** Where the table with this rank stands in the file; with the count of tables, the end of them all. */
  tableOffset(rank: number): number {
    return this.#parts.startBytes + this.#rangeStart(rank);
  }

  /** From the first range's start. */
  #rangeStart(rank: number): number {
    const { data, tables, tableBlocks } = this.#parts;
    const isEnd = rank === tables.usedCount;
    const dataRank = isEnd ? data.usedCount : data.rank(tables.select(rank) * tableBlocks);
    return (rank + dataRank) * data.blockBytes;
  }

  region(): Region {
    return {
      lengthBytes: this.#rangeStart(this.#parts.tables.usedCount),
      pieces: (from, to) => this.#pieces(from, to),
    };
  }

  *#pieces(from: number, to: number): Iterable<Piece> {
    let rank = this.#rankAt(from);
    for (let start = this.#rangeStart(rank); start < to; rank++) {
      const end = this.#rangeStart(rank + 1);
      yield* this.#range(rank, Math.max(0, from - start), Math.min(to, end) - start);
      start = end;
    }
  }

  /** The range that an offset stands in. */
  #rankAt(offsetBytes: number): number {
    let low = 0;
    let high = this.#parts.tables.usedCount;
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (this.#rangeStart(middle) <= offsetBytes) low = middle;
      else high = middle;
    }
    return low;
  }

  /** The part [from, to) of a table and its data. */
  *#range(rank: number, from: number, to: number): Iterable<Piece> {
    const { data, tables, tableBlocks } = this.#parts;
    const { blockBytes } = data;
    const first = tables.select(rank) * tableBlocks;
    const end = Math.min(first + tableBlocks, data.blockCount);
    if (from < blockBytes) {
      const table = this.#parts.table(first, end, this.tableOffset(rank) + blockBytes);
      yield* cutPieces(table, from, Math.min(to, blockBytes));
    }
    const firstRank = data.rank(first);
    for (let at = Math.max(from, blockBytes); at < to; ) {
      const within = at % blockBytes;
      const block = data.select(firstRank + (at - within) / blockBytes - 1);
      const runBytes = (Math.min(data.runEnd(block), end) - block) * blockBytes - within;
      const lengthBytes = Math.min(to - at, runBytes);
      yield { kind: 'disk', offsetBytes: block * blockBytes + within, lengthBytes };
      at += lengthBytes;
    }
  }
}
