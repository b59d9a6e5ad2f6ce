import { readStructure } from '@gantry/disk';
import type { Budget } from '../budget.ts';
import { Fields, malformed } from '../fields.ts';
import { HIVE_HEADER_BYTES, type Hive } from './hive.ts';

const BIN_HEADER_BYTES = 32;
const BIN_UNIT_BYTES = 4096;
/** Lengths of cells are multiples of it. */
const CELL_UNIT_BYTES = 8;
const CELL_HEAD_BYTES = 4;
const WINDOW_BYTES: number = 64 * 1024;
const STRUCTURE = 'registry hive bin';

/** Bytes of the cell for a content, with its length and what fills it up. */
export function cellBytes(contentBytes: number): number {
  return Math.ceil((CELL_HEAD_BYTES + contentBytes) / CELL_UNIT_BYTES) * CELL_UNIT_BYTES;
}

/** A cell that is not in use. */
export interface FreeCell {
  readonly offset: number;
  readonly lengthBytes: number;
}

/**
 * Walks through all cells of a hive and finds the smallest free ones that new cells fit into: one for all of them, or
 * one for each. `known` are cells that were reached by their offsets: each has to be one, and in use, so that nothing
 * that is found here overlaps them. Returns undefined where there is no room, and an empty list where none is wanted.
 * Throws IMAGE_MALFORMED for a hive whose bins and cells do not cover it.
 */
export async function findRoom(
  hive: Hive,
  wantedBytes: readonly number[],
  known: readonly number[],
  budget: Budget,
): Promise<readonly FreeCell[] | undefined> {
  const total = wantedBytes.reduce((sum, bytes) => sum + bytes, 0);
  const forAll = new SmallestCells(total);
  const forEach = wantedBytes.map((bytes) => new SmallestCells(bytes));
  const unseen = new Set(known);
  if (unseen.size !== known.length) throw malformed('registry hive', 'two things stand in one cell');
  await walkCells(hive, budget, (offset, lengthBytes, isFree) => {
    if (!isFree) unseen.delete(offset);
    else for (const kept of [forAll, ...forEach]) kept.add({ offset, lengthBytes });
  });
  if (unseen.size > 0) throw malformed('registry hive', 'a key or value does not stand in a cell');
  if (wantedBytes.length === 0) return [];
  const [whole] = forAll.list;
  if (whole !== undefined) return [whole];
  const [first, second] = forEach;
  for (const one of first?.list ?? [])
    for (const other of second?.list ?? []) if (one.offset !== other.offset) return [one, other];
  return undefined;
}

/** The two smallest cells of at least a length: two, as another may take the first. */
class SmallestCells {
  readonly list: FreeCell[] = [];
  readonly #lengthBytes: number;

  constructor(lengthBytes: number) {
    this.#lengthBytes = lengthBytes;
  }

  add(cell: FreeCell): void {
    if (cell.lengthBytes < this.#lengthBytes) return;
    this.list.push(cell);
    this.list.sort((a, b) => a.lengthBytes - b.lengthBytes || a.offset - b.offset);
    this.list.length = Math.min(2, this.list.length);
  }
}

async function walkCells(
  hive: Hive,
  budget: Budget,
  visit: (offset: number, lengthBytes: number, isFree: boolean) => void,
): Promise<void> {
  const binsBytes = hive.header.u32(40);
  const words = new Words(hive);
  for (let bin = 0; bin < binsBytes; ) {
    const head = await words.at(bin, BIN_HEADER_BYTES);
    const lengthBytes = head.u32(8);
    const isBin =
      head.has(0, 'hbin') &&
      head.u32(4) === bin &&
      lengthBytes > 0 &&
      lengthBytes % BIN_UNIT_BYTES === 0 &&
      lengthBytes <= binsBytes - bin;
    if (!isBin) throw head.malformed(`there is no bin at ${bin}`);
    const end = bin + lengthBytes;
    for (let cell = bin + BIN_HEADER_BYTES; cell < end; ) {
      budget.step();
      const size = (await words.at(cell, CELL_HEAD_BYTES)).i32(0);
      const cellLength = Math.abs(size);
      if (cellLength === 0 || cellLength % CELL_UNIT_BYTES !== 0 || cell + cellLength > end)
        throw head.malformed(`the cell at ${cell} has no length`);
      visit(cell, cellLength, size > 0);
      cell += cellLength;
    }
    bin = end;
  }
}

/** Small parts of the bins, asked for front to back; bins may be of any length. */
class Words {
  readonly #hive: Hive;
  #startBytes = 0;
  #window: Fields = new Fields(new Uint8Array(), STRUCTURE);

  constructor(hive: Hive) {
    this.#hive = hive;
  }

  async at(offset: number, lengthBytes: number): Promise<Fields> {
    if (offset + lengthBytes > this.#startBytes + this.#window.lengthBytes) {
      const { file } = this.#hive;
      const place = HIVE_HEADER_BYTES + offset;
      const windowBytes = Math.max(lengthBytes, Math.min(WINDOW_BYTES, file.lengthBytes - place));
      this.#window = new Fields(await readStructure(file, place, windowBytes, STRUCTURE), STRUCTURE);
      this.#startBytes = offset;
    }
    return this.#window.fields(offset - this.#startBytes, lengthBytes);
  }
}
