import { viewOf } from '../../bytes/fields.ts';
import { roundUp, toSafeInteger } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import type { Qcow2Header } from './header.ts';
import { BITMAP_COUNT_MAX, BITMAP_DIRECTORY_BYTES_MAX, BITMAP_TABLE_BYTES_MAX } from './limits.ts';
import { entryOffset } from './tables.ts';

export interface HostRun {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

const BITMAP_ENTRY_BYTES = 24;

/** What dirty bitmaps take in the file: directory, tables and data (specification, "Bitmaps"). */
export async function* bitmapRuns(
  source: ByteSource,
  header: Qcow2Header,
  signal?: AbortSignal,
): AsyncGenerator<HostRun, void, undefined> {
  const { bitmaps, clusterBytes } = header;
  if (bitmaps === undefined) return;
  const structure = 'qcow2 bitmap directory';
  const { count, directoryBytes, directoryOffsetBytes } = bitmaps;
  if (count > BITMAP_COUNT_MAX || directoryBytes > BITMAP_DIRECTORY_BYTES_MAX) {
    throw new ImageError('IMAGE_LIMIT', `the bitmap directory of ${directoryBytes} bytes is too large`, {
      structure,
      offsetBytes: directoryOffsetBytes,
    });
  }
  yield { offsetBytes: directoryOffsetBytes, lengthBytes: directoryBytes };
  const directory = viewOf(
    await readStructure(source, directoryOffsetBytes, directoryBytes, structure, signal),
  );
  // Tables that do not stand on top of each other are together no longer than the file.
  let roomBytes = source.lengthBytes;
  let at = 0;
  for (let i = 0; i < count; i++) {
    const place = { structure, offsetBytes: directoryOffsetBytes + at };
    if (at + BITMAP_ENTRY_BYTES > directoryBytes) {
      throw new ImageError('IMAGE_MALFORMED', `the bitmap directory ends before bitmap ${i}`, place);
    }
    const offsetBytes = toSafeInteger(directory.getBigUint64(at), place);
    const tableBytes = directory.getUint32(at + 8) * 8;
    roomBytes -= tableBytes;
    if (tableBytes > BITMAP_TABLE_BYTES_MAX || roomBytes < 0) {
      throw new ImageError('IMAGE_LIMIT', `the table of bitmap ${i} has ${tableBytes} bytes`, place);
    }
    yield { offsetBytes, lengthBytes: tableBytes };
    const table = viewOf(await readStructure(source, offsetBytes, tableBytes, 'qcow2 bitmap table', signal));
    for (let entry = 0; entry < tableBytes; entry += 8) {
      const data = entryOffset(table.getUint32(entry), table.getUint32(entry + 4));
      if (data !== 0) yield { offsetBytes: data, lengthBytes: clusterBytes };
    }
    at += roundUp(BITMAP_ENTRY_BYTES + directory.getUint16(at + 18) + directory.getUint32(at + 20), 8);
  }
}
