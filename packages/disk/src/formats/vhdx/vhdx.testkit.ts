import { crc32c, crc32cAround } from '../../bytes/crc32c.ts';
import { viewOf } from '../../bytes/fields.ts';
import { guidBytes } from './guids.ts';

const KIB = 1024;
const MIB = KIB * KIB;

/** Where the structures of the files made here stand. */
export const HEADERS: readonly [number, number] = [64 * KIB, 128 * KIB];
export const REGION_TABLES: readonly [number, number] = [192 * KIB, 256 * KIB];
export const LOG: number = MIB;
export const METADATA: number = 2 * MIB;
export const ITEMS_OFFSET: number = METADATA + 64 * KIB;
export const TABLE: number = 3 * MIB;
export const BLOCKS: number = 4 * MIB;

export const LOG_GUID = '10101010-2020-4040-8080-a0a0a0a0a0a0';
export const DATA_WRITE_GUID = '11111111-2222-4333-8444-555555555555';

/** A block that is stored: where, counted in blocks behind the tables, and in which state. */
export interface StoredBlock {
  readonly at: number;
  readonly state?: number;
}

export interface VhdxFields {
  readonly blockSize?: number;
  readonly diskSize?: number;
  readonly logicalSector?: number;
  readonly fixed?: boolean;
  /** Entries of the table in its own order, sector bitmaps among them; a number is a state without a place. */
  readonly table?: readonly (StoredBlock | number)[];
  /** Blocks of 1 MiB that the file holds behind its tables. */
  readonly storedMib?: number;
  readonly dataWriteGuid?: string;
  readonly logGuid?: string;
  readonly logLengthMib?: number;
  /** Keys and values of the parent locator; makes a differencing disk. */
  readonly locator?: readonly (readonly [key: string, value: string])[];
}

/** What a stored MiB holds, by its place behind the tables. */
export function storedByte(mib: number, within: number): number {
  return 1 + ((mib * 31 + Math.floor(within / 512)) % 200);
}

/** A small VHDX file: log at 1 MiB, metadata at 2 MiB, table at 3 MiB, blocks from 4 MiB on. */
export function vhdxFile(fields: VhdxFields = {}): Uint8Array {
  const blockSize = fields.blockSize ?? MIB;
  const table = fields.table ?? [{ at: 1 }, 0, { at: 0 }, 2];
  const stored = table.filter((entry) => typeof entry !== 'number');
  const storedMib = fields.storedMib ?? Math.max(0, ...stored.map(({ at }) => at + 1)) * (blockSize / MIB);
  const bytes = new Uint8Array(BLOCKS + storedMib * MIB);
  const view = viewOf(bytes);
  bytes.set(Buffer.from('vhdxfile'));
  bytes.set(Buffer.from('test kit', 'utf16le'), 8);
  for (const [i, at] of HEADERS.entries()) {
    bytes.set(Buffer.from('head'), at);
    view.setBigUint64(at + 8, BigInt(7 + i), true);
    bytes.fill(0x61, at + 16, at + 32);
    bytes.set(guidBytes(fields.dataWriteGuid ?? DATA_WRITE_GUID), at + 32);
    if (fields.logGuid !== undefined) bytes.set(guidBytes(fields.logGuid), at + 48);
    view.setUint16(at + 66, 1, true);
    view.setUint32(at + 68, (fields.logLengthMib ?? 1) * MIB, true);
    view.setBigUint64(at + 72, BigInt(LOG), true);
  }
  for (const at of REGION_TABLES) {
    bytes.set(Buffer.from('regi'), at);
    view.setUint32(at + 8, 2, true);
    setRegion(bytes, at + 16, '2dc27766-f623-4200-9d64-115e9bfd4a08', TABLE);
    setRegion(bytes, at + 48, '8b7ca206-4790-4b9a-b8fe-575f050f886e', METADATA);
  }
  setMetadata(bytes, fields, blockSize, table.length);
  for (const [i, entry] of table.entries()) {
    if (typeof entry === 'number') view.setBigUint64(TABLE + i * 8, BigInt(entry), true);
    else setEntry(bytes, i, entry.state ?? 6, BLOCKS + entry.at * blockSize);
  }
  for (let mib = 0; mib < storedMib; mib++) {
    for (let at = 0; at < MIB; at += 512) {
      const start = BLOCKS + mib * MIB + at;
      bytes.fill(storedByte(mib, at), start, start + 512);
    }
  }
  return seal(bytes);
}

export function setEntry(bytes: Uint8Array, index: number, state: number, place: number): void {
  viewOf(bytes).setBigUint64(TABLE + index * 8, BigInt(place) + BigInt(state), true);
}

function setRegion(bytes: Uint8Array, at: number, guid: string, offset: number): void {
  bytes.set(guidBytes(guid), at);
  viewOf(bytes).setBigUint64(at + 16, BigInt(offset), true);
  viewOf(bytes).setUint32(at + 24, MIB, true);
  viewOf(bytes).setUint32(at + 28, 1, true);
}

/** Items stand 64 bytes apart in this order, the locator last: their entries too, 32 bytes each. */
export const ITEM_ORDER: readonly string[] = [
  'caa16737-fa36-4d43-b3b6-33f0aa44e76b',
  '2fa54224-cd1b-4876-b211-5dbed83bf4b8',
  'beca12ab-b2e6-4523-93ef-c309e000c746',
  '8141bf1d-a96f-4709-ba47-f233a8faab5f',
  'cda348c7-445d-4471-9cc9-e9885251c556',
  'a8d35f2d-b30b-454d-abf7-d3d84834ab0c',
];

function setMetadata(bytes: Uint8Array, fields: VhdxFields, blockSize: number, entryCount: number): void {
  const view = viewOf(bytes);
  const locator = fields.locator === undefined ? [] : [parentLocator(fields.locator)];
  const parameters = new Uint8Array(8);
  viewOf(parameters).setUint32(0, blockSize, true);
  viewOf(parameters).setUint32(4, (fields.fixed === true ? 1 : 0) + locator.length * 2, true);
  const items = [
    parameters,
    uint64(BigInt(fields.diskSize ?? entryCount * blockSize)),
    new Uint8Array(16).fill(0x83),
    uint64(BigInt(fields.logicalSector ?? 512)).subarray(0, 4),
    uint64(4096n).subarray(0, 4),
    ...locator,
  ];
  bytes.set(Buffer.from('metadata'), METADATA);
  view.setUint16(METADATA + 10, items.length, true);
  for (const [i, item] of items.entries()) {
    const at = METADATA + 32 * (i + 1);
    bytes.set(guidBytes(ITEM_ORDER[i] ?? ''), at);
    view.setUint32(at + 16, 64 * KIB + i * 64, true);
    view.setUint32(at + 20, item.length, true);
    view.setUint32(at + 24, i === 0 || i === 5 ? 4 : 6, true);
    bytes.set(item, ITEMS_OFFSET + i * 64);
  }
}

function uint64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  viewOf(bytes).setBigUint64(0, value, true);
  return bytes;
}

function parentLocator(entries: readonly (readonly [key: string, value: string])[]): Uint8Array {
  const texts = entries.flat().map((text) => Buffer.from(text, 'utf16le'));
  const start = 20 + entries.length * 12;
  const bytes = new Uint8Array(start + texts.reduce((sum, { length }) => sum + length, 0));
  const view = viewOf(bytes);
  bytes.set(guidBytes('b04aefb7-d19e-4a81-b789-25b8e9445913'));
  view.setUint16(18, entries.length, true);
  let at = start;
  for (const [i, text] of texts.entries()) {
    const entry = 20 + Math.floor(i / 2) * 12;
    view.setUint32(entry + (i % 2) * 4, at, true);
    view.setUint16(entry + 8 + (i % 2) * 2, text.length, true);
    bytes.set(text, at);
    at += text.length;
  }
  return bytes;
}

/** Sets the checksums of the headers and the region tables, as they are now. Gives the same bytes. */
export function seal(bytes: Uint8Array): Uint8Array {
  for (const at of HEADERS) setCrc(bytes.subarray(at, at + 4096));
  for (const at of REGION_TABLES) setCrc(bytes.subarray(at, at + 65536));
  return bytes;
}

function setCrc(bytes: Uint8Array): void {
  viewOf(bytes).setUint32(4, crc32cAround(bytes, 4), true);
}

/** What the guest sees of such a file without a parent: entry by entry, for tables without bitmaps. */
export function guestBytes(fields: VhdxFields, sizeBytes?: number): Uint8Array {
  const blockSize = fields.blockSize ?? MIB;
  const table = fields.table ?? [{ at: 1 }, 0, { at: 0 }, 2];
  const bytes = new Uint8Array(table.length * blockSize);
  for (const [block, entry] of table.entries()) {
    if (typeof entry === 'number') continue;
    for (let at = 0; at < blockSize; at += 512) {
      const mib = (entry.at * blockSize) / MIB + Math.floor(at / MIB);
      bytes.fill(storedByte(mib, at % MIB), block * blockSize + at, block * blockSize + at + 512);
    }
  }
  return bytes.subarray(0, sizeBytes ?? bytes.length);
}

export type TestWrite =
  | { readonly page: number; readonly bytes: Uint8Array }
  | { readonly zero: number; readonly length: number };

export interface LogEntryFields {
  readonly sequence: bigint;
  /** Sector of the log where the first entry of the sequence begins. */
  readonly tail: number;
  readonly writes: readonly TestWrite[];
  readonly guid?: string;
  readonly flushed?: number;
  readonly last?: number;
  readonly descriptorCount?: number;
  readonly length?: number;
}

/** One entry of a log, by MS-VHDX 2.3.1. */
export function logEntry(fields: LogEntryFields): Uint8Array {
  const { sequence, writes } = fields;
  const pages = writes.filter((write) => 'page' in write);
  const descriptorSectors = Math.ceil((writes.length + 2) / 128);
  const bytes = new Uint8Array((Math.max(1, descriptorSectors) + pages.length) * 4096);
  const view = viewOf(bytes);
  bytes.set(Buffer.from('loge'));
  view.setUint32(8, fields.length ?? bytes.length, true);
  view.setUint32(12, fields.tail * 4096, true);
  view.setBigUint64(16, sequence, true);
  view.setUint32(24, fields.descriptorCount ?? writes.length, true);
  bytes.set(guidBytes(fields.guid ?? LOG_GUID), 32);
  view.setBigUint64(48, BigInt(fields.flushed ?? 0), true);
  view.setBigUint64(56, BigInt(fields.last ?? 0), true);
  let sector = Math.max(1, descriptorSectors) * 4096;
  for (const [i, write] of writes.entries()) {
    const at = 64 + i * 32;
    view.setBigUint64(at + 24, sequence, true);
    if ('zero' in write) {
      bytes.set(Buffer.from('zero'), at);
      view.setBigUint64(at + 8, BigInt(write.length), true);
      view.setBigUint64(at + 16, BigInt(write.zero), true);
      continue;
    }
    bytes.set(Buffer.from('desc'), at);
    bytes.set(write.bytes.subarray(4092), at + 4);
    bytes.set(write.bytes.subarray(0, 8), at + 8);
    view.setBigUint64(at + 16, BigInt(write.page), true);
    bytes.set(Buffer.from('data'), sector);
    view.setUint32(sector + 4, Number(sequence >> 32n), true);
    bytes.set(write.bytes.subarray(8, 4092), sector + 8);
    view.setUint32(sector + 4092, Number(sequence & 0xffffffffn), true);
    sector += 4096;
  }
  return sealEntry(bytes);
}

/** Sets the checksum of an entry as it is now. */
export function sealEntry(bytes: Uint8Array): Uint8Array {
  viewOf(bytes).setUint32(4, 0, true);
  viewOf(bytes).setUint32(4, crc32c(bytes), true);
  return bytes;
}

/** Puts entries into the log of a file, each at its sector, round the end where it has to. */
export function setLog(
  file: Uint8Array,
  entries: readonly (readonly [sector: number, entry: Uint8Array])[],
  logLength: number = MIB,
): Uint8Array {
  for (const [sector, entry] of entries) {
    for (let at = 0; at < entry.length; at += 4096) {
      file.set(entry.subarray(at, at + 4096), LOG + ((sector * 4096 + at) % logLength));
    }
  }
  return file;
}

/** A page of one value. */
export function page(value: number): Uint8Array {
  return new Uint8Array(4096).fill(value);
}
