import { readStructure } from '@gantry/disk';
import type { Budget } from '../budget.ts';
import { Fields, malformed } from '../fields.ts';
import { HIVE_BIN_BYTES_MAX } from '../limits.ts';
import { HIVE_HEADER_BYTES, type Hive } from './hive.ts';

const BIN_HEADER_BYTES = 32;
const BIN_UNIT_BYTES = 4096;
/** Lengths of cells are multiples of it. */
const CELL_UNIT_BYTES = 8;
const CELL_HEAD_BYTES = 4;

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
  for (let at = 0; at < binsBytes; ) {
    const head = await binPart(hive, at, BIN_HEADER_BYTES);
    const lengthBytes = head.u32(8);
    const isBin =
      head.has(0, 'hbin') &&
      head.u32(4) === at &&
      lengthBytes > 0 &&
      lengthBytes % BIN_UNIT_BYTES === 0 &&
      lengthBytes <= Math.min(HIVE_BIN_BYTES_MAX, binsBytes - at);
    if (!isBin) throw head.malformed(`there is no bin at ${at}`);
    const bin = await binPart(hive, at, lengthBytes);
    for (let cell = BIN_HEADER_BYTES; cell < lengthBytes; ) {
      budget.step();
      const size = bin.i32(cell);
      const cellLength = Math.abs(size);
      if (cellLength === 0 || cellLength % CELL_UNIT_BYTES !== 0 || cell + cellLength > lengthBytes)
        throw bin.malformed(`the cell at ${at + cell} has no length`);
      visit(at + cell, cellLength, size > 0);
      cell += cellLength;
    }
    at += lengthBytes;
  }
}

async function binPart(hive: Hive, offset: number, lengthBytes: number): Promise<Fields> {
  const structure = 'registry hive bin';
  return new Fields(
    await readStructure(hive.file, HIVE_HEADER_BYTES + offset, lengthBytes, structure),
    structure,
  );
}
