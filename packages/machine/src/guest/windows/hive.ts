import { type ByteSource, readStructure } from '@gantry/disk';
import type { Budget } from '../budget.ts';
import { Fields, malformed, tooMany } from '../fields.ts';
import { HIVE_SUBKEY_COUNT_MAX, HIVE_VALUE_BYTES_MAX, HIVE_VALUE_COUNT_MAX } from '../limits.ts';

export const HIVE_HEADER_BYTES = 4096;
const CELL_BYTES_MAX = 1024 * 1024;
/** The part of the header that its checksum covers; the checksum stands behind it. */
const SUMMED_BYTES = 508;
const NAME_IS_LATIN1 = 0x20;
const VALUE_NAME_IS_LATIN1 = 1;
const REG_SZ = 1;
const REG_EXPAND_SZ = 2;
export const REG_DWORD = 4;

/** Added to the length of data that stands in the value itself. */
export const HIVE_DATA_INSIDE = 0x8000_0000;

/** A key of a registry hive; its values and the keys below it are found when they are asked for. */
export interface HiveKey {
  /** Of its cell, in bytes behind the header, as the hive counts. */
  readonly offset: number;
  /** Without the cell's length. */
  readonly cell: Fields;
}

/** A value of a key, as it stands there. */
export interface HiveValue {
  readonly offset: number;
  readonly cell: Fields;
  readonly type: number;
  readonly lengthBytes: number;
  /** Up to four bytes stand where the place of longer ones would. */
  readonly isInside: boolean;
}

/**
 * A registry hive of Windows (the file format is described in "Windows registry file format specification" of
 * M. Suhanov), read as far as paths lead: keys by name and their values. Its logs are not replayed.
 */
export class Hive {
  readonly file: ByteSource;
  /** The whole first block. */
  readonly header: Fields;
  readonly #budget: Budget;
  readonly #rootOffset: number;
  /** It was not written to its end: its logs hold newer changes. */
  readonly isDirty: boolean;

  private constructor(file: ByteSource, budget: Budget, header: Fields) {
    this.file = file;
    this.header = header;
    this.#budget = budget;
    this.#rootOffset = header.u32(36);
    this.isDirty = header.u32(4) !== header.u32(8) || header.u32(SUMMED_BYTES) !== hiveChecksum(header);
  }

  /** Throws ImageError for what is no hive. */
  static async open(file: ByteSource, budget: Budget): Promise<Hive> {
    const header = new Fields(
      await readStructure(file, 0, HIVE_HEADER_BYTES, 'registry hive'),
      'registry hive',
    );
    if (!header.has(0, 'regf')) throw header.malformed('it does not begin with regf');
    if (header.u32(20) !== 1) throw header.malformed(`version ${header.u32(20)}`);
    return new Hive(file, budget, header);
  }

  /** The key at a path from the root; undefined where it is not there. Names are compared in either case. */
  async key(path: readonly string[]): Promise<HiveKey | undefined> {
    let key: HiveKey = { offset: this.#rootOffset, cell: await this.#key(this.#rootOffset) };
    for (const name of path) {
      const next = await this.#subkey(key, name);
      if (next === undefined) return undefined;
      key = next;
    }
    return key;
  }

  /** A text or number of a key; undefined where it is not there, or of another type. */
  async value(key: HiveKey, name: string): Promise<string | number | undefined> {
    const value = await this.findValue(key, name);
    return value && this.#data(value);
  }

  /** The value of a key with this name, whatever its type; undefined where it is not there. */
  async findValue(key: HiveKey, name: string): Promise<HiveValue | undefined> {
    const count = key.cell.u32(36);
    if (count > HIVE_VALUE_COUNT_MAX) throw tooMany('values of a registry key', HIVE_VALUE_COUNT_MAX);
    if (count === 0) return undefined;
    const list = await this.cell(key.cell.u32(40), 'registry values');
    for (let index = 0; index < count; index++) {
      const offset = list.u32(index * 4);
      const cell = await this.cell(offset, 'registry value');
      if (!cell.has(0, 'vk')) throw cell.malformed('it does not begin with vk');
      const nameBytes = cell.u16(2);
      const isLatin1 = (cell.u16(16) & VALUE_NAME_IS_LATIN1) !== 0;
      const found = isLatin1 ? cell.latin1(20, nameBytes) : cell.utf16(20, nameBytes);
      if (found.toUpperCase() !== name.toUpperCase()) continue;
      const size = cell.u32(4);
      const isInside = size >= HIVE_DATA_INSIDE;
      const lengthBytes = isInside ? Math.min(4, size - HIVE_DATA_INSIDE) : size;
      return { offset, cell, type: cell.u32(12), lengthBytes, isInside };
    }
    return undefined;
  }

  async #data({ cell, type, lengthBytes, isInside }: HiveValue): Promise<string | number | undefined> {
    if (lengthBytes > HIVE_VALUE_BYTES_MAX) throw tooMany('bytes of a registry value', HIVE_VALUE_BYTES_MAX);
    const data = isInside
      ? cell.fields(8, lengthBytes)
      : (await this.cell(cell.u32(8), 'registry data')).fields(0, lengthBytes);
    if (type === REG_DWORD) return data.u32(0);
    if (type === REG_SZ || type === REG_EXPAND_SZ) return data.utf16(0, lengthBytes - (lengthBytes % 2));
    return undefined;
  }

  async #subkey(key: HiveKey, name: string): Promise<HiveKey | undefined> {
    const count = key.cell.u32(20);
    if (count > HIVE_SUBKEY_COUNT_MAX) throw tooMany('keys below a registry key', HIVE_SUBKEY_COUNT_MAX);
    if (count === 0) return undefined;
    for await (const offset of this.#listed(key.cell.u32(28), 0)) {
      const cell = await this.#key(offset);
      const nameBytes = cell.u16(72);
      const isLatin1 = (cell.u16(2) & NAME_IS_LATIN1) !== 0;
      const found = isLatin1 ? cell.latin1(76, nameBytes) : cell.utf16(76, nameBytes);
      if (found.toUpperCase() === name.toUpperCase()) return { offset, cell };
    }
    return undefined;
  }

  /** The offsets in a list of keys: `lf` and `lh` with hints beside them, `li` without, `ri` of other lists. */
  async *#listed(offset: number, depth: number): AsyncGenerator<number, void, undefined> {
    const list = await this.cell(offset, 'registry key list');
    const kind = list.latin1(0, 2);
    const count = list.u16(2);
    const stride = kind === 'lf' || kind === 'lh' ? 8 : 4;
    if (kind !== 'lf' && kind !== 'lh' && kind !== 'li' && kind !== 'ri')
      throw list.malformed(`a list of kind ${kind}`);
    if (kind === 'ri' && depth > 0) throw list.malformed('a list of lists of lists');
    for (let index = 0; index < count; index++) {
      this.#budget.step();
      const entry = list.u32(4 + index * stride);
      if (kind === 'ri') yield* this.#listed(entry, depth + 1);
      else yield entry;
    }
  }

  async #key(offset: number): Promise<Fields> {
    const cell = await this.cell(offset, 'registry key');
    if (!cell.has(0, 'nk')) throw cell.malformed('it does not begin with nk');
    return cell;
  }

  /** The content of a cell that is in use: its length is negative. */
  async cell(offset: number, structure: string): Promise<Fields> {
    this.#budget.step();
    const at = HIVE_HEADER_BYTES + offset;
    const size = -new Fields(await readStructure(this.file, at, 4, structure), structure).i32(0);
    if (size < 8 || size > CELL_BYTES_MAX)
      throw malformed(structure, 'its cell is not in use, or has no length');
    return new Fields(await readStructure(this.file, at + 4, size - 4, structure), structure);
  }
}

/** Of a header: the XOR of its words before the checksum, which is never 0 nor all ones. */
export function hiveChecksum(header: Fields): number {
  const words = new Uint32Array(1);
  for (let at = 0; at < SUMMED_BYTES; at += 4) words[0] = (words[0] ?? 0) ^ header.u32(at);
  const [sum = 0] = words;
  return sum === 0 ? 1 : sum === 0xffff_ffff ? 0xffff_fffe : sum;
}
