import { viewOf } from '../../bytes/fields.ts';
import { ceilDivide, roundUp, SECTOR_BYTES } from '../../bytes/numbers.ts';
import type { Disk } from '../../disk/disk.ts';
import { ImageError, invariant } from '../../errors.ts';
import { compressedBound } from '../../io/node-work.ts';
import { ChunkPacker } from '../../view/chunk-packer.ts';
import type { ImageStream, StreamChunk, StreamRunOptions } from '../../view/image-stream.ts';
import { type PackedUnit, packedUnits } from '../../view/packed-units.ts';
import type { WriteRequest } from '../format.ts';
import {
  BITMAP_SEGMENT_BYTES,
  INDEX_ENTRY_BYTES,
  INDEX_SEGMENT_BYTES,
  makeHeaderPage,
  type NewHeader,
  PAGE_BYTES,
  structureOf,
  titles,
  WRITTEN_BLOCK_BYTES,
  type ZvhdKind,
} from './header.ts';
import { VIRTUAL_SIZE_BYTES_MAX } from './limits.ts';
import { recordBytesOf, recordFrame } from './record.ts';
import { RecordList } from './record-list.ts';
import { storedDeflate, storedZstd } from './stored-payload.ts';

/** RFC 1950: deflate with a window of 32 KiB, of the usual level. */
const ZLIB_HEADER: Uint8Array = Uint8Array.of(0x78, 0x9c);
const NOTHING: Uint8Array = new Uint8Array(0);

/**
 * Plans a ZVHD or ZVHD2 file as the reference driver writes it, front to back. The blocks of a ZVHD are compressed
 * each by itself, and are one stream to a reader that goes through them. Sizes are rounded up to a sector. Throws
 * IMAGE_LIMIT for an empty disk and above 64 TiB.
 */
export async function zvhdStream(
  disk: Disk,
  kind: ZvhdKind,
  compression: 'zlib' | 'zstd',
  request: WriteRequest,
): Promise<ImageStream> {
  const virtualSizeBytes = roundUp(disk.virtualSizeBytes, SECTOR_BYTES);
  if (virtualSizeBytes === 0 || virtualSizeBytes > VIRTUAL_SIZE_BYTES_MAX) {
    throw new ImageError('IMAGE_LIMIT', `${titles[kind]} cannot hold a disk of ${virtualSizeBytes} bytes`, {
      structure: structureOf(kind),
      hint: `${titles[kind]} holds disks of 1 sector to 64 TiB`,
    });
  }
  const header: NewHeader = { kind, virtualSizeBytes, compression, seed: request.seed };
  const blockCount = ceilDivide(virtualSizeBytes, WRITTEN_BLOCK_BYTES);
  const longestRecord = recordBytesOf(ZLIB_HEADER.length + compressedBound(WRITTEN_BLOCK_BYTES));
  return {
    kind: 'stream',
    format: kind,
    frontBytes: 0,
    maximumLengthBytes: 2 * PAGE_BYTES + blockCount * longestRecord + tablesBytes(kind, blockCount),
    chunks: (run) => chunks(disk, header, run),
  };
}

function tablesBytes(kind: ZvhdKind, blockCount: number): number {
  return kind === 'zvhd' ? 0 : indexBytesOf(blockCount) + bitmapBytesOf(blockCount) + PAGE_BYTES;
}

/** Whole segments, one at least. */
function indexBytesOf(recordCount: number): number {
  return roundUp(Math.max(1, recordCount) * INDEX_ENTRY_BYTES, INDEX_SEGMENT_BYTES);
}

function bitmapBytesOf(blockCount: number): number {
  return roundUp(ceilDivide(blockCount, 8), BITMAP_SEGMENT_BYTES);
}

async function* chunks(
  disk: Disk,
  header: NewHeader,
  run: StreamRunOptions,
): AsyncGenerator<StreamChunk, void, undefined> {
  const { kind, compression } = header;
  const { nextUnit: fromUnit, list } = restore(run.resumeFrom);
  const packer = new ChunkPacker(run.resumeFrom === undefined ? 0 : (list.endBytes ?? PAGE_BYTES));
  if (run.resumeFrom === undefined) packer.append(makeHeaderPage(header));
  let nextUnit = fromUnit;
  const checkpoint = () => save(nextUnit, list);
  const packed = packedUnits(disk, {
    unitBytes: WRITTEN_BLOCK_BYTES,
    compression: kind === 'zvhd' ? 'deflate-raw' : compression,
    openEnd: compression === 'zlib',
    limitBytes: WRITTEN_BLOCK_BYTES,
    fromUnit,
    signal: run.signal,
    onProgress: run.onProgress,
  });
  for await (const { units, endUnit } of packed) {
    for (const unit of units) {
      const before = headerBefore(unit, header, list);
      const payload = payloadOf(unit, compression);
      const record = recordFrame(unit.unit, before.length + payload.length);
      list.add(unit.unit, packer.endBytes, record.lengthBytes);
      for (const part of [record.head, before, payload]) packer.append(part);
      packer.appendZeros(record.paddingBytes);
      packer.append(record.end);
    }
    nextUnit = endUnit;
    yield* packer.takeFull(checkpoint);
  }
  packer.append(makeHeaderPage(header));
  if (kind === 'zvhd2') yield* appendTables(packer, header, list);
  yield* packer.takeAll();
}

/** The unit's deflate data or zstd frame, made of its plain bytes where compression did not pay. */
function payloadOf({ bytes, compressed }: PackedUnit, compression: 'zlib' | 'zstd'): Uint8Array {
  if (compressed) return bytes;
  return compression === 'zstd' ? storedZstd(bytes) : storedDeflate(bytes);
}

/** The header of a zlib stream where one begins: of a ZVHD with its first record, of a ZVHD2 with every one. */
function headerBefore({ compressed }: PackedUnit, header: NewHeader, list: RecordList): Uint8Array {
  if (header.compression === 'zstd') return NOTHING;
  if (header.kind === 'zvhd') return list.count === 0 ? ZLIB_HEADER : NOTHING;
  // The compressor made it.
  return compressed ? NOTHING : ZLIB_HEADER;
}

/** What another run needs: the first block that is not done, then block and pages of each record before it. */
function save(nextUnit: number, list: RecordList): Uint8Array {
  const bytes = new Uint8Array(8 + list.count * 8);
  const view = viewOf(bytes);
  view.setFloat64(0, nextUnit);
  for (let rank = 0; rank < list.count; rank++) {
    view.setUint32(8 + rank * 8, list.block(rank));
    view.setUint32(12 + rank * 8, list.lengthBytes(rank));
  }
  return bytes;
}

function restore(saved: Uint8Array | undefined): { nextUnit: number; list: RecordList } {
  const list = new RecordList();
  if (saved === undefined) return { nextUnit: 0, list };
  const view = viewOf(saved);
  for (let at = 8; at < saved.length; at += 8) {
    const block = view.getUint32(at);
    invariant(block > list.lastBlock, 'a checkpoint lists its records in order');
    list.add(block, list.endBytes ?? PAGE_BYTES, view.getUint32(at + 4));
  }
  return { nextUnit: view.getFloat64(0), list };
}

/** Index, bitmap and the page that says where they are. */
function* appendTables(packer: ChunkPacker, header: NewHeader, list: RecordList): Iterable<StreamChunk> {
  const blockCount = ceilDivide(header.virtualSizeBytes, WRITTEN_BLOCK_BYTES);
  const index = {
    offsetBytes: packer.endBytes,
    lengthBytes: indexBytesOf(list.count),
    bitmapOffsetBytes: packer.endBytes + indexBytesOf(list.count),
    bitmapBytes: bitmapBytesOf(blockCount),
    recordCount: list.count,
  };
  const segmentEntries = INDEX_SEGMENT_BYTES / INDEX_ENTRY_BYTES;
  for (let first = 0; first * INDEX_ENTRY_BYTES < index.lengthBytes; first += segmentEntries) {
    packer.append(indexSegment(list, first, Math.min(first + segmentEntries, list.count)));
    yield* packer.takeAll();
  }
  packer.append(bitmapOf(list, index.bitmapBytes));
  packer.append(makeHeaderPage({ ...header, index }));
}

function indexSegment(list: RecordList, first: number, end: number): Uint8Array {
  const bytes = new Uint8Array(INDEX_SEGMENT_BYTES);
  const view = viewOf(bytes);
  for (let rank = first; rank < end; rank++) {
    const at = (rank - first) * INDEX_ENTRY_BYTES;
    view.setBigUint64(at, BigInt(list.offsetBytes(rank)), true);
    view.setUint32(at + 8, list.block(rank), true);
    view.setUint32(at + 12, list.lengthBytes(rank), true);
  }
  return bytes;
}

/** A bit for each block, the lowest first. */
function bitmapOf(list: RecordList, lengthBytes: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  for (let rank = 0; rank < list.count; rank++) {
    const block = list.block(rank);
    const byte = Math.floor(block / 8);
    bytes[byte] = (bytes[byte] ?? 0) | (1 << (block % 8));
  }
  return bytes;
}
