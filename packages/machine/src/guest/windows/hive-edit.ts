import { ImageError, readStructure } from '@gantry/disk';
import type { Budget } from '../budget.ts';
import { Fields, tooMany } from '../fields.ts';
import { HIVE_VALUE_COUNT_MAX } from '../limits.ts';
import type { ByteChange } from './byte-changes.ts';
import {
  HIVE_DATA_INSIDE,
  HIVE_HEADER_BYTES,
  type Hive,
  type HiveKey,
  type HiveValue,
  hiveChecksum,
  REG_DWORD,
} from './hive.ts';
import { cellBytes, findRoom } from './hive-room.ts';

/** What Windows XP and all after it write. */
const minorVersions: readonly number[] = [3, 4, 5, 6];
const CELL_HEAD_BYTES = 4;
const VALUE_HEAD_BYTES = 20;
const VALUE_NAME_IS_LATIN1 = 1;
const DWORD_BYTES = 4;
/** Longer data stands in several cells. */
const ONE_CELL_DATA_BYTES = 16_344;
/** Of 1601, from which FILETIME counts, to 1970. */
const FILETIME_EPOCH_MS = 11_644_473_600_000n;
/** The fields of a key that a value of it changes: from the time of its last change to its largest value. */
const KEY_PART_BYTES = 64;
/** The fields of the header behind its mark that its checksum covers, and that. */
const HEADER_PART_BYTES = 508;

export interface DwordEdit {
  readonly key: HiveKey;
  /** For the sentences that tell of the changes. */
  readonly keyName: string;
  /** In Latin-1. */
  readonly name: string;
  readonly number: number;
  /** When the key says that it was changed, in milliseconds since 1970. */
  readonly timeMs: number;
}

/**
 * The changes to a hive's file that give a key a DWORD, without changing the file's length: a value that is there is
 * overwritten, another is put into free cells. They are in an order in which the hive is sound after each of them;
 * none, when the value is there already. Throws IMAGE_UNSUPPORTED for a hive whose logs are to be replayed first, or
 * that has no room, IMAGE_MALFORMED for one that is damaged. The format is that of M. Suhanov's description.
 */
export async function dwordChanges(
  hive: Hive,
  edit: DwordEdit,
  budget: Budget,
): Promise<readonly ByteChange[]> {
  requireWritable(hive);
  const value = await hive.findValue(edit.key, edit.name);
  if (value === undefined) return addedValue(hive, edit, budget);
  const isThere = value.type === REG_DWORD && value.isInside && value.lengthBytes === DWORD_BYTES;
  if (isThere && value.cell.u32(8) === edit.number) return [];
  return overwrittenValue(hive, edit, value, budget);
}

function requireWritable(hive: Hive): void {
  const { header, isDirty } = hive;
  if (isDirty) {
    throw new ImageError('IMAGE_UNSUPPORTED', 'the registry was not written to its end', {
      structure: 'registry hive',
      hint: 'its logs hold newer changes, which Windows applies: start it once, shut it down (shutdown /s /f /t 0), and copy the disk then',
    });
  }
  const isPrimary = header.u32(28) === 0 && header.u32(32) === 1;
  if (!isPrimary || !minorVersions.includes(header.u32(24)))
    throw new ImageError('IMAGE_UNSUPPORTED', `a registry hive of version 1.${header.u32(24)}`, {
      structure: 'registry hive',
      hint: 'set the value in Windows itself',
    });
}

async function overwrittenValue(
  hive: Hive,
  edit: DwordEdit,
  value: HiveValue,
  budget: Budget,
): Promise<ByteChange[]> {
  const { key, name, number } = edit;
  const dataOffset = !value.isInside && value.lengthBytes > 0 ? value.cell.u32(8) : undefined;
  if (value.lengthBytes > ONE_CELL_DATA_BYTES) {
    throw new ImageError('IMAGE_UNSUPPORTED', `${name} has ${value.lengthBytes} bytes`, {
      structure: 'registry value',
      hint: 'it is no setting of the clock: remove it in Windows',
    });
  }
  const data = dataOffset === undefined ? [] : [dataOffset];
  await findRoom(hive, [], [key.offset, value.offset, ...data], budget);
  const fields = new DataView(new ArrayBuffer(12));
  fields.setUint32(0, HIVE_DATA_INSIDE + DWORD_BYTES, true);
  fields.setUint32(4, number, true);
  fields.setUint32(8, REG_DWORD, true);
  return [
    await inCell(hive, value.offset, 4, bytesOf(fields), `${name} becomes the DWORD ${number}`),
    await keyChange(hive, edit, undefined),
    ...(dataOffset === undefined ? [] : [await freed(hive, dataOffset, `the old data of ${name}`)]),
    await headerChange(hive),
  ];
}

async function addedValue(hive: Hive, edit: DwordEdit, budget: Budget): Promise<ByteChange[]> {
  const { key, keyName, name, number } = edit;
  const count = key.cell.u32(36);
  if (count >= HIVE_VALUE_COUNT_MAX) throw tooMany('values of a registry key', HIVE_VALUE_COUNT_MAX);
  const oldList = count === 0 ? undefined : { offset: key.cell.u32(40), cell: await oldListOf(hive, key) };
  const listEnd = count * 4;
  const fits = oldList !== undefined && oldList.cell.lengthBytes >= listEnd + 4;
  const value = valueCell(name, number);
  const listBytes = fits ? [] : [cellBytes(listEnd + 4)];
  const known = oldList === undefined ? [key.offset] : [key.offset, oldList.offset];
  const room = await findRoom(hive, [value.length, ...listBytes], known, budget);
  const [first, second] = room ?? [];
  if (first === undefined) {
    throw new ImageError('IMAGE_UNSUPPORTED', `the registry has no room for ${name}`, {
      structure: 'registry hive',
      hint: 'Windows makes the hive larger where it has to: set the value there (reg add), or give the machine a clock in local time',
    });
  }
  const told = `the value ${name}, DWORD ${number}`;
  if (fits) {
    return [
      await filled(hive, first, [value], `a free cell takes ${told}`),
      await inCell(
        hive,
        oldList.offset,
        listEnd,
        word(first.offset),
        `the list of values of ${keyName} names it`,
      ),
      await keyChange(hive, edit, { count: count + 1, listOffset: oldList.offset }),
      await headerChange(hive),
    ];
  }
  const list = listCell([...oldOffsets(oldList?.cell, count), first.offset]);
  const listTold = `a list of the ${count + 1} values of ${keyName}`;
  const cells =
    second === undefined
      ? [await filled(hive, first, [value, list], `a free cell takes ${told}, and ${listTold}`)]
      : [
          await filled(hive, first, [value], `a free cell takes ${told}`),
          await filled(hive, second, [list], `a free cell takes ${listTold}`),
        ];
  const listOffset = second?.offset ?? first.offset + value.length;
  return [
    ...cells,
    await keyChange(hive, edit, { count: count + 1, listOffset }),
    ...(oldList === undefined
      ? []
      : [await freed(hive, oldList.offset, `the old list of values of ${keyName}`)]),
    await headerChange(hive),
  ];
}

function oldListOf(hive: Hive, key: HiveKey): Promise<Fields> {
  return hive.cell(key.cell.u32(40), 'registry values');
}

function oldOffsets(list: Fields | undefined, count: number): number[] {
  return list === undefined ? [] : Array.from({ length: count }, (_, index) => list.u32(index * 4));
}

/** A whole cell of a value, its name in Latin-1 and its data inside. */
function valueCell(name: string, number: number): Uint8Array {
  const cell = newCell(VALUE_HEAD_BYTES + name.length);
  const view = new DataView(cell.buffer, CELL_HEAD_BYTES);
  cell.set([0x76, 0x6b], CELL_HEAD_BYTES);
  view.setUint16(2, name.length, true);
  view.setUint32(4, HIVE_DATA_INSIDE + DWORD_BYTES, true);
  view.setUint32(8, number, true);
  view.setUint32(12, REG_DWORD, true);
  view.setUint16(16, VALUE_NAME_IS_LATIN1, true);
  cell.set(
    Array.from(name, (character) => character.charCodeAt(0)),
    CELL_HEAD_BYTES + VALUE_HEAD_BYTES,
  );
  return cell;
}

function listCell(offsets: readonly number[]): Uint8Array {
  const cell = newCell(offsets.length * 4);
  const view = new DataView(cell.buffer, CELL_HEAD_BYTES);
  for (const [index, offset] of offsets.entries()) view.setUint32(index * 4, offset, true);
  return cell;
}

/** In use: its length is negative. */
function newCell(contentBytes: number): Uint8Array<ArrayBuffer> {
  const cell = new Uint8Array(cellBytes(contentBytes));
  new DataView(cell.buffer).setInt32(0, -cell.length, true);
  return cell;
}

/** Cells in a free one; what is left of it is free. */
function filled(
  hive: Hive,
  room: { readonly offset: number; readonly lengthBytes: number },
  cells: readonly Uint8Array[],
  what: string,
): Promise<ByteChange> {
  const usedBytes = cells.reduce((sum, cell) => sum + cell.length, 0);
  const restBytes = room.lengthBytes - usedBytes;
  const after = new Uint8Array(usedBytes + (restBytes > 0 ? CELL_HEAD_BYTES : 0));
  let at = 0;
  for (const cell of cells) {
    after.set(cell, at);
    at += cell.length;
  }
  if (restBytes > 0) after.set(word(restBytes), at);
  return changeAt(hive, HIVE_HEADER_BYTES + room.offset, after, what);
}

/** A cell that is in use becomes free: its length becomes positive. */
async function freed(hive: Hive, offset: number, what: string): Promise<ByteChange> {
  const { lengthBytes } = await hive.cell(offset, what);
  const after = word(lengthBytes + CELL_HEAD_BYTES);
  return changeAt(hive, HIVE_HEADER_BYTES + offset, after, `the cell of ${what} becomes free`);
}

function keyChange(
  hive: Hive,
  { key, keyName, name, timeMs }: DwordEdit,
  list: { readonly count: number; readonly listOffset: number } | undefined,
): Promise<ByteChange> {
  const after = Uint8Array.from(key.cell.part(4, KEY_PART_BYTES));
  const view = new DataView(after.buffer);
  view.setBigUint64(0, (BigInt(timeMs) + FILETIME_EPOCH_MS) * 10_000n, true);
  if (list !== undefined) {
    view.setUint32(32, list.count, true);
    view.setUint32(36, list.listOffset, true);
    // Counted as if it were in UTF-16.
    view.setUint32(56, Math.max(view.getUint32(56, true), name.length * 2), true);
  }
  view.setUint32(60, Math.max(view.getUint32(60, true), DWORD_BYTES), true);
  const counted = list === undefined ? '' : `${list.count} values, and `;
  return inCell(hive, key.offset, 4, after, `the key ${keyName}: ${counted}the time of its last change`);
}

/** Both numbers go up together, as after a write that came to its end. */
function headerChange(hive: Hive): Promise<ByteChange> {
  const after = Uint8Array.from(hive.header.part(0, 4 + HEADER_PART_BYTES));
  const view = new DataView(after.buffer);
  const number = (hive.header.u32(4) + 1) % 2 ** 32;
  view.setUint32(4, number, true);
  view.setUint32(8, number, true);
  view.setUint32(HEADER_PART_BYTES, hiveChecksum(new Fields(after, 'registry hive')), true);
  return changeAt(hive, 4, after.subarray(4), 'the header of the hive: its sequence numbers and checksum');
}

function inCell(
  hive: Hive,
  offset: number,
  at: number,
  after: Uint8Array,
  what: string,
): Promise<ByteChange> {
  return changeAt(hive, HIVE_HEADER_BYTES + offset + CELL_HEAD_BYTES + at, after, what);
}

async function changeAt(
  hive: Hive,
  offsetBytes: number,
  after: Uint8Array,
  what: string,
): Promise<ByteChange> {
  const before = await readStructure(hive.file, offsetBytes, after.length, 'registry hive');
  return { offsetBytes, before, after, what };
}

function word(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

function bytesOf(view: DataView<ArrayBuffer>): Uint8Array {
  return new Uint8Array(view.buffer);
}
