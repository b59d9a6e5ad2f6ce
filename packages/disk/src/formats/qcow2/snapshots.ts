import { viewOf } from '../../bytes/fields.ts';
import { roundUp, toSafeInteger } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import type { Qcow2Header } from './header.ts';
import {
  BITMAP_COUNT_MAX,
  BITMAP_DIRECTORY_BYTES_MAX,
  BITMAP_TABLE_BYTES_MAX,
  L1_TABLE_BYTES_MAX,
  SNAPSHOT_TABLE_BYTES_MAX,
} from './limits.ts';
import { entryOffset } from './tables.ts';

export interface L1Place {
  readonly offsetBytes: number;
  readonly entryCount: number;
}

export interface SnapshotTable {
  readonly tableBytes: number;
  readonly l1Places: readonly L1Place[];
}

const SNAPSHOT_ENTRY_BYTES = 40;

/** Where the L1 tables of internal snapshots stand (specification, "Snapshots"). */
export async function readSnapshots(
  source: ByteSource,
  header: Qcow2Header,
  signal?: AbortSignal,
): Promise<SnapshotTable> {
  const structure = 'qcow2 snapshot table';
  const l1Places: L1Place[] = [];
  let at = header.snapshotsOffsetBytes;
  for (let i = 0; i < header.snapshotCount; i++) {
    const entry = viewOf(await readStructure(source, at, SNAPSHOT_ENTRY_BYTES, structure, signal));
    const l1OffsetBytes = toSafeInteger(entry.getBigUint64(0), { structure, offsetBytes: at });
    const entryCount = entry.getUint32(8);
    if (entryCount * 8 > L1_TABLE_BYTES_MAX) {
      throw new ImageError('IMAGE_LIMIT', `the L1 table of snapshot ${i} is above 32 MiB`, {
        structure,
        offsetBytes: at,
      });
    }
    l1Places.push({ offsetBytes: l1OffsetBytes, entryCount });
    const namesBytes = entry.getUint16(12) + entry.getUint16(14);
    at += roundUp(SNAPSHOT_ENTRY_BYTES + entry.getUint32(36) + namesBytes, 8);
    if (at - header.snapshotsOffsetBytes > SNAPSHOT_TABLE_BYTES_MAX) {
      throw new ImageError('IMAGE_LIMIT', 'the snapshot table is above 64 MiB', {
        structure,
        offsetBytes: at,
      });
    }
  }
  return { tableBytes: at - header.snapshotsOffsetBytes, l1Places };
}

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
