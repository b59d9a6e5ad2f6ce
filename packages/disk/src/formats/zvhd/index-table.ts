import { viewOf } from '../../bytes/fields.ts';
import { ImageError } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import {
  BITMAP_SEGMENT_BYTES,
  INDEX_ENTRY_BYTES,
  INDEX_SEGMENT_BYTES,
  PAGE_BYTES,
  type ZvhdHeader,
  type ZvhdIndexPlace,
} from './header.ts';
import { PAYLOAD_SLACK_BYTES } from './limits.ts';
import { RECORD_HEAD_BYTES, recordBytesOf } from './record.ts';
import { RecordList } from './record-list.ts';

const INDEX_STRUCTURE = 'ZVHD2 index';
const BITMAP_STRUCTURE = 'ZVHD2 bitmap';

function refuse(structure: string, message: string, offsetBytes: number): ImageError {
  return new ImageError('IMAGE_MALFORMED', `${structure}: ${message}`, { structure, offsetBytes });
}

/**
 * The records that the index of a ZVHD2 file names. Throws IMAGE_MALFORMED unless they follow each other, in the
 * order of their blocks, before the index, and the bitmap names the same blocks.
 */
export async function readIndex(
  source: ByteSource,
  header: ZvhdHeader,
  place: ZvhdIndexPlace,
  signal?: AbortSignal,
): Promise<RecordList> {
  const list = new RecordList();
  const segmentEntries = INDEX_SEGMENT_BYTES / INDEX_ENTRY_BYTES;
  for (let first = 0; first < place.entryCount; first += segmentEntries) {
    const count = Math.min(segmentEntries, place.entryCount - first);
    const offsetBytes = place.offsetBytes + first * INDEX_ENTRY_BYTES;
    const bytes = await readStructure(
      source,
      offsetBytes,
      count * INDEX_ENTRY_BYTES,
      INDEX_STRUCTURE,
      signal,
    );
    addEntries(list, header, place, viewOf(bytes), offsetBytes);
  }
  if (list.count !== place.recordCount) {
    const message = `${list.count} records are named, and the header says ${place.recordCount}`;
    throw refuse(INDEX_STRUCTURE, message, place.offsetBytes);
  }
  await requireBitmap(source, header, place, list, signal);
  return list;
}

function addEntries(
  list: RecordList,
  header: ZvhdHeader,
  place: ZvhdIndexPlace,
  entries: DataView,
  tableOffsetBytes: number,
): void {
  const longest = recordBytesOf(2 * header.blockBytes + PAYLOAD_SLACK_BYTES);
  for (let at = 0; at < entries.byteLength; at += INDEX_ENTRY_BYTES) {
    const offset = entries.getBigUint64(at, true);
    // An index of all blocks has those without data too.
    if (offset === 0n && place.entryCount === header.blockCount) continue;
    const block = entries.getUint32(at + 8, true);
    const lengthBytes = entries.getUint32(at + 12, true);
    const fail = (message: string) => refuse(INDEX_STRUCTURE, message, tableOffsetBytes + at);
    const firstBytes = list.endBytes ?? PAGE_BYTES;
    const isInside = offset >= BigInt(firstBytes) && offset <= BigInt(place.offsetBytes - lengthBytes);
    if (!isInside) throw fail(`the record of block ${block} is said to be at ${offset}, out of its order`);
    if (block >= header.blockCount || block <= list.lastBlock)
      throw fail(`block ${block} follows block ${list.lastBlock} of ${header.blockCount}`);
    const offsetBytes = Number(offset);
    const isWhole = offsetBytes % PAGE_BYTES === 0 && lengthBytes % PAGE_BYTES === 0;
    if (!isWhole || lengthBytes <= RECORD_HEAD_BYTES || lengthBytes > longest)
      throw fail(`the record of block ${block} cannot have ${lengthBytes} bytes at ${offset}`);
    list.add(block, offsetBytes, lengthBytes);
  }
}

async function requireBitmap(
  source: ByteSource,
  header: ZvhdHeader,
  place: ZvhdIndexPlace,
  list: RecordList,
  signal: AbortSignal | undefined,
): Promise<void> {
  let rank = 0;
  for (let first = 0; first < header.blockCount; first += BITMAP_SEGMENT_BYTES * 8) {
    const offsetBytes = place.bitmapOffsetBytes + first / 8;
    const count = Math.min(BITMAP_SEGMENT_BYTES * 8, header.blockCount - first);
    const bytes = await readStructure(source, offsetBytes, Math.ceil(count / 8), BITMAP_STRUCTURE, signal);
    for (let i = 0; i < count; i++) {
      const isNamed = rank < list.count && list.block(rank) === first + i;
      const isSet = ((bytes[i >> 3] ?? 0) & (1 << (i % 8))) !== 0;
      if (isNamed !== isSet) {
        const message = `the index and the bitmap do not agree about block ${first + i}`;
        throw refuse(BITMAP_STRUCTURE, message, offsetBytes + (i >> 3));
      }
      if (isNamed) rank++;
    }
  }
}
