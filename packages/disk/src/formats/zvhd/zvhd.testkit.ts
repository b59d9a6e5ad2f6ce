import assert from 'node:assert/strict';
import { constants, createDeflate, deflateRawSync, deflateSync, zstdCompressSync } from 'node:zlib';
import { latin1Text, viewOf } from '../../bytes/fields.ts';
import type { ImageStream } from '../../view/image-stream.ts';
import { checksumOf } from '../vhd/footer.ts';

export const BLOCK_BYTES: number = 2 * 1024 * 1024;

/** Fields of a file by the names of its description; what is not given makes a good small image. */
export interface ZvhdFields {
  readonly kind?: 'zvhd' | 'zvhd2';
  readonly magic?: string;
  readonly formatVersion?: number;
  readonly creatorVersion?: number;
  readonly origSize?: bigint;
  readonly currSize?: bigint;
  readonly zvhd2Version?: number;
  readonly blockSize?: number;
  readonly blockCount?: number;
  readonly method?: number;
  readonly checksum?: number;
  /** Changes to the last page alone, by field. */
  readonly last?: Omit<ZvhdFields, 'last' | 'records'>;
  readonly indexOffset?: bigint;
  readonly bitmapOffset?: bigint;
  readonly indexBytes?: number;
  readonly bitmapBytes?: number;
  readonly nonZeroBlocks?: number;
  readonly hasZeroEntries?: boolean;
  readonly records?: readonly RecordFields[];
  /** Changes to entries of the index, by rank. */
  readonly entries?: Readonly<Record<number, Partial<{ offset: bigint; block: number; length: number }>>>;
  /** Blocks whose bit is turned over. */
  readonly turnedBits?: readonly number[];
}

export interface RecordFields {
  readonly block: number;
  readonly payload: Uint8Array;
  readonly magic?: string;
  readonly payloadLength?: number;
  readonly end?: string;
}

/** What a block of the testkit holds: text and noise by turns, so that some of it compresses. */
export function blockContent(block: number, blockBytes: number = BLOCK_BYTES): Uint8Array {
  const bytes = new Uint8Array(blockBytes);
  let state = block + 1;
  for (let at = 0; at < blockBytes; at += 4096) {
    for (let i = 0; i < 64; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      bytes[at + i] = state >>> 24;
    }
    bytes.set(Buffer.from(`block ${block}, page ${at / 4096}`), at + 64);
  }
  return bytes;
}

/** Payloads of a ZVHD as the reference driver makes them: one stream that is flushed behind each block. */
export async function continuousPayloads(blocks: readonly Uint8Array[]): Promise<Uint8Array[]> {
  const deflate = createDeflate({ level: 6 });
  deflate.setMaxListeners(1000);
  const payloads: Uint8Array[] = [];
  let parts: Uint8Array[] = [];
  deflate.on('data', (part: Uint8Array) => parts.push(part));
  for (const block of blocks) {
    parts = [];
    await new Promise<void>((resolve, reject) => {
      deflate.once('error', reject);
      deflate.write(block);
      deflate.flush(constants.Z_SYNC_FLUSH, () => setImmediate(resolve));
    });
    payloads.push(new Uint8Array(Buffer.concat(parts)));
  }
  return payloads;
}

/** Payloads that stand each for itself. */
export function independentPayload(kind: 'zvhd' | 'zvhd2' | 'zstd', plain: Uint8Array): Uint8Array {
  if (kind === 'zstd') return new Uint8Array(zstdCompressSync(plain));
  const settings = { finishFlush: constants.Z_FULL_FLUSH };
  return new Uint8Array(kind === 'zvhd' ? deflateRawSync(plain, settings) : deflateSync(plain, settings));
}

function padded(length: number): number {
  return Math.ceil(length / 4096) * 4096;
}

function recordBytes(fields: RecordFields): Uint8Array {
  const { block, payload, magic = 'hwstream bg', end = 'end\0' } = fields;
  const bytes = new Uint8Array(padded(48 + payload.length + 4));
  const view = viewOf(bytes);
  bytes.set(Buffer.from(magic));
  view.setUint32(12, fields.payloadLength ?? payload.length, true);
  view.setUint32(16, block, true);
  bytes.set(payload, 48);
  bytes.set(Buffer.from(end), bytes.length - 4);
  return bytes;
}

function pageBytes(fields: ZvhdFields, isLast: boolean): Uint8Array {
  const kind = fields.kind ?? 'zvhd2';
  const bytes = new Uint8Array(4096);
  const view = viewOf(bytes);
  const origSize = fields.origSize ?? BigInt(4 * BLOCK_BYTES);
  const blockSize = fields.blockSize ?? BLOCK_BYTES;
  bytes.set(Buffer.from(fields.magic ?? (kind === 'zvhd' ? 'stream' : 'z2strm')));
  view.setUint32(8, 2, true);
  view.setUint32(12, fields.formatVersion ?? 0x00010000, true);
  view.setBigUint64(16, 2n ** 64n - 1n, true);
  bytes.set(Buffer.from('tap'), 28);
  view.setUint32(32, fields.creatorVersion ?? 0x00010004, true);
  view.setBigUint64(40, origSize, true);
  view.setBigUint64(48, fields.currSize ?? 2n ** 30n, true);
  view.setUint32(60, 4, true);
  bytes.fill(0x77, 68, 84);
  if (kind === 'zvhd2') {
    view.setUint8(87, fields.zvhd2Version ?? 1);
    view.setUint32(88, blockSize, true);
    view.setUint32(92, fields.blockCount ?? Number(origSize / BigInt(blockSize || 1)), true);
    view.setUint8(140, fields.hasZeroEntries === true ? 1 : 0);
    view.setUint8(141, fields.method ?? 1);
  }
  if (isLast) {
    view.setBigUint64(96, fields.indexOffset ?? 0n, true);
    view.setBigUint64(104, fields.bitmapOffset ?? 0n, true);
    view.setUint32(112, fields.indexBytes ?? 0, true);
    view.setUint32(116, fields.bitmapBytes ?? 0, true);
    view.setUint32(120, 524288, true);
    view.setUint32(124, 4096, true);
    view.setUint32(136, fields.nonZeroBlocks ?? 0, true);
  }
  view.setUint32(64, fields.checksum ?? checksumOf(bytes.subarray(0, 512), 64), true);
  return bytes;
}

/** A file of these fields, laid out as the reference driver does. */
export function zvhdFile(fields: ZvhdFields = {}): Uint8Array {
  const kind = fields.kind ?? 'zvhd2';
  const payloadKind = kind === 'zvhd' ? 'zvhd' : (fields.method ?? 1) === 1 ? 'zstd' : 'zvhd2';
  const blockBytes = fields.blockSize ?? BLOCK_BYTES;
  const records =
    fields.records ??
    [0, 2].map((block) => {
      const payload = independentPayload(payloadKind, blockContent(block, blockBytes));
      const isFirst = kind === 'zvhd' && block === 0;
      return { block, payload: isFirst ? Buffer.concat([Uint8Array.of(0x78, 0x9c), payload]) : payload };
    });
  const parts = [pageBytes(fields, false)];
  const places: { offset: bigint; block: number; length: number }[] = [];
  let at = 4096;
  for (const record of records) {
    const bytes = recordBytes(record);
    places.push({ offset: BigInt(at), block: record.block, length: bytes.length });
    parts.push(bytes);
    at += bytes.length;
  }
  parts.push(pageBytes(fields, false));
  if (kind === 'zvhd2') parts.push(...tables(fields, places, at + 4096));
  return new Uint8Array(Buffer.concat(parts));
}

function tables(
  fields: ZvhdFields,
  places: readonly { offset: bigint; block: number; length: number }[],
  offset: number,
): Uint8Array[] {
  const blockCount = Math.ceil(
    Number(fields.origSize ?? BigInt(4 * BLOCK_BYTES)) / (fields.blockSize ?? BLOCK_BYTES),
  );
  const listed = fields.hasZeroEntries
    ? Array.from({ length: Math.min(blockCount, 32768) }, (_, block) => {
        return places.find((place) => place.block === block) ?? { offset: 0n, block, length: 0 };
      })
    : places;
  const index = new Uint8Array(524288);
  const bitmap = new Uint8Array(4096);
  for (const [rank, place] of listed.entries()) {
    const entry = { ...place, ...fields.entries?.[rank] };
    const view = viewOf(index);
    view.setBigUint64(rank * 16, entry.offset, true);
    view.setUint32(rank * 16 + 8, entry.block, true);
    view.setUint32(rank * 16 + 12, entry.length, true);
  }
  for (const block of [...places.map((place) => place.block), ...(fields.turnedBits ?? [])]) {
    bitmap[block >> 3] = (bitmap[block >> 3] ?? 0) ^ (1 << (block % 8));
  }
  const found = {
    indexOffset: BigInt(offset),
    bitmapOffset: BigInt(offset + index.length),
    indexBytes: index.length,
    bitmapBytes: bitmap.length,
    nonZeroBlocks: places.length,
  };
  return [index, bitmap, pageBytes({ ...found, ...fields, ...fields.last }, true)];
}

/** What the guest sees of a file with these blocks. */
export function guestBytes(
  blocks: readonly number[],
  sizeBytes: number,
  blockBytes = BLOCK_BYTES,
): Uint8Array {
  const bytes = new Uint8Array(Math.ceil(sizeBytes / blockBytes) * blockBytes);
  for (const block of blocks) bytes.set(blockContent(block, blockBytes), block * blockBytes);
  return bytes.subarray(0, sizeBytes);
}

/** All bytes of a stream's file, its chunks following each other. */
export async function streamBytes(stream: ImageStream, resumeFrom?: Uint8Array): Promise<Uint8Array> {
  assert.equal(stream.frontBytes, 0);
  const parts: Uint8Array[] = [];
  let at: number | undefined;
  for await (const { offsetBytes, bytes } of stream.chunks(resumeFrom === undefined ? {} : { resumeFrom })) {
    if (at !== undefined) assert.equal(offsetBytes, at, 'chunks follow each other');
    at = offsetBytes + bytes.length;
    parts.push(bytes.slice());
  }
  assert.ok((at ?? 0) <= stream.maximumLengthBytes, 'no longer than it was said to be');
  return new Uint8Array(Buffer.concat(parts));
}

/** Asserts every rule of the format that is known, on a file made by us; gives its payloads by block. */
export function assertStrict(
  file: Uint8Array,
  kind: 'zvhd' | 'zvhd2',
  method: 'zlib' | 'zstd',
  sizeBytes: number,
): Map<number, Uint8Array> {
  const view = viewOf(file);
  const blockCount = Math.ceil(sizeBytes / BLOCK_BYTES);
  assert.equal(file.length % 4096, 0, 'whole pages');
  const lastAt = file.length - 4096;
  for (const page of [0, lastAt]) assertPage(file.subarray(page, page + 4096), kind, method, sizeBytes);
  const payloads = new Map<number, Uint8Array>();
  const places: (readonly [offset: bigint, block: number, length: number])[] = [];
  let at = 4096;
  while (latin1Text(file.subarray(at, at + 12)) === 'hwstream bg\0') {
    const length = view.getUint32(at + 12, true);
    const block = view.getUint32(at + 16, true);
    const end = at + padded(48 + length + 4);
    assert.ok(
      file.subarray(at + 20, at + 48).every((byte) => byte === 0),
      'reserved bytes of a record',
    );
    assert.ok(block < blockCount && block > (places.at(-1)?.[1] ?? -1), 'blocks in order');
    assert.ok(
      file.subarray(at + 48 + length, end - 4).every((byte) => byte === 0),
      'padding is zero',
    );
    assert.equal(latin1Text(file.subarray(end - 4, end)), 'end\0', 'a record has its end');
    payloads.set(block, file.subarray(at + 48, at + 48 + length));
    places.push([BigInt(at), block, end - at]);
    at = end;
  }
  assert.deepEqual(file.subarray(at, at + 4096), file.subarray(0, 4096), 'the header page again');
  if (kind === 'zvhd') assert.equal(at, lastAt, 'and nothing behind it');
  else assertTables(file, at + 4096, places, blockCount);
  return payloads;
}

function assertPage(page: Uint8Array, kind: string, method: string, sizeBytes: number): void {
  const view = viewOf(page);
  const u32 = (at: number) => view.getUint32(at, true);
  assert.equal(latin1Text(page.subarray(0, 8)), kind === 'zvhd' ? 'stream\0\0' : 'z2strm\0\0');
  assert.deepEqual([u32(8), u32(12)], [2, 0x00010000]);
  assert.equal(view.getBigUint64(16, true), 2n ** 64n - 1n);
  assert.equal(latin1Text(page.subarray(28, 32)), 'tap\0');
  assert.deepEqual([u32(32), u32(36)], [0x00010004, 0]);
  assert.equal(view.getBigUint64(40, true), BigInt(sizeBytes), 'orig size');
  assert.equal(view.getBigUint64(48, true), BigInt(Math.ceil(sizeBytes / 2 ** 30) * 2 ** 30), 'curr size');
  assert.equal(u32(60), 4, 'type');
  assert.equal(u32(64), checksumOf(page.subarray(0, 512), 64), 'checksum');
  assert.ok(
    page.subarray(68, 84).some((byte) => byte !== 0),
    'uuid',
  );
  assert.ok(
    page.subarray(512).every((byte) => byte === 0),
    'the rest of the page is zero',
  );
  if (kind === 'zvhd') {
    assert.ok(page.subarray(84, 512).every((byte) => byte === 0));
    return;
  }
  assert.deepEqual([page[84], page[85], page[86], page[87]], [0, 0, 0, 1]);
  assert.deepEqual([u32(88), u32(92)], [BLOCK_BYTES, Math.ceil(sizeBytes / BLOCK_BYTES)]);
  assert.deepEqual([page[140], page[141]], [0, method === 'zstd' ? 1 : 0]);
}

function assertTables(
  file: Uint8Array,
  indexAt: number,
  places: readonly (readonly [bigint, number, number])[],
  blockCount: number,
): void {
  const view = viewOf(file);
  const last = file.length - 4096;
  const indexSegments = Math.max(1, Math.ceil(places.length / 32768));
  const bitmapSegments = Math.ceil(blockCount / 32768);
  const bitmapAt = indexAt + indexSegments * 524288;
  assert.equal(bitmapAt + bitmapSegments * 4096, last, 'index, bitmap and last page follow each other');
  assert.equal(view.getBigUint64(last + 96, true), BigInt(indexAt));
  assert.equal(view.getBigUint64(last + 104, true), BigInt(bitmapAt));
  const fields = [112, 116, 120, 124, 128, 132, 136].map((at) => view.getUint32(last + at, true));
  assert.deepEqual(fields, [
    indexSegments * 524288,
    bitmapSegments * 4096,
    524288,
    4096,
    indexSegments,
    bitmapSegments,
    places.length,
  ]);
  for (let rank = 0; rank < indexSegments * 32768; rank++) {
    const at = indexAt + rank * 16;
    const [offset, block, length] = places[rank] ?? [0n, 0, 0];
    const entry = [view.getBigUint64(at, true), view.getUint32(at + 8, true), view.getUint32(at + 12, true)];
    assert.deepEqual(entry, [offset, block, length], `entry ${rank}`);
    if (offset === 0n && rank > places.length + 8) break;
  }
  const bits = new Uint8Array(bitmapSegments * 4096);
  for (const [, block] of places) bits[block >> 3] = (bits[block >> 3] ?? 0) | (1 << (block % 8));
  assert.deepEqual(file.subarray(bitmapAt, last), bits, 'bitmap');
}
