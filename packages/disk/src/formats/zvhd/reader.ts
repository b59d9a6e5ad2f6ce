import { hasMagic } from '../../bytes/fields.ts';
import type { Disk } from '../../disk/disk.ts';
import { ImageError } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import type { OpenOptions } from '../format.ts';
import { ZvhdDisk } from './disk.ts';
import {
  magics,
  PAGE_BYTES,
  parseIndexPlace,
  readHeaderPage,
  requireSameDisk,
  structureOf,
  titles,
  type ZvhdKind,
  type ZvhdPage,
} from './header.ts';
import { readIndex } from './index-table.ts';
import { FILE_BYTES_MAX } from './limits.ts';
import type { RecordList } from './record-list.ts';
import { RecordWalk } from './record-walk.ts';

/**
 * Opens a ZVHD image. Its records are found one after the other, as far as they are asked for. Where its blocks are
 * one continuous stream, reads go forward, or start again from the front.
 */
export async function openZvhd(source: ByteSource, options: OpenOptions): Promise<Disk> {
  const first = await readFirstPage(source, 'zvhd', options);
  if (source.sequential !== true) await readLastPage(source, first, options.signal);
  return walkedDisk(source, first);
}

/** Opens a ZVHD2 image by its index; one that is still arriving by its records, with the index as a check. */
export async function openZvhd2(source: ByteSource, options: OpenOptions): Promise<Disk> {
  const { signal } = options;
  const first = await readFirstPage(source, 'zvhd2', options);
  if (source.sequential === true) return walkedDisk(source, first);
  const list = await readListedRecords(source, first, signal);
  return new ZvhdDisk(source, first.header, { list, async through() {} }, async () => {});
}

function walkedDisk(source: ByteSource, first: ZvhdPage): Disk {
  const walk = new RecordWalk(source, first);
  return new ZvhdDisk(source, first.header, walk, async (signal) => {
    await walk.toEnd(signal);
    await source.drain?.(signal);
    walk.requireEndOfFile();
    if (first.header.kind === 'zvhd2') await requireIndexOf(source, first, walk, signal);
  });
}

export async function readFirstPage(
  source: ByteSource,
  kind: ZvhdKind,
  { signal }: OpenOptions,
): Promise<ZvhdPage> {
  const first = await readHeaderPage(source, kind, 0, signal);
  if (source.openEnded === true || source.lengthBytes <= FILE_BYTES_MAX) return first;
  throw new ImageError('IMAGE_LIMIT', `a ${titles[kind]} file of ${source.lengthBytes} bytes is too long`, {
    structure: structureOf(kind),
    hint: 'no program makes such a file: it is damaged, or was made to do harm',
  });
}

/** The page that every file ends with. Throws IMAGE_TRUNCATED where it does not. */
export async function readLastPage(
  source: ByteSource,
  first: ZvhdPage,
  signal?: AbortSignal,
): Promise<ZvhdPage> {
  const { kind } = first.header;
  const offsetBytes = source.lengthBytes - PAGE_BYTES;
  const mark = await readStructure(source, offsetBytes, 8, structureOf(kind), signal);
  if (offsetBytes < PAGE_BYTES || !hasMagic(mark, magics[kind])) {
    throw new ImageError('IMAGE_TRUNCATED', `${source.name} does not end as a ${titles[kind]} file does`, {
      structure: structureOf(kind),
      offsetBytes,
    });
  }
  const last = await readHeaderPage(source, kind, offsetBytes, signal);
  requireSameDisk(first, last);
  return last;
}

/** The records that a ZVHD2 file's index names. */
export async function readListedRecords(
  source: ByteSource,
  first: ZvhdPage,
  signal?: AbortSignal,
): Promise<RecordList> {
  const last = await readLastPage(source, first, signal);
  return readIndex(source, last.header, parseIndexPlace(last), signal);
}

/** Throws IMAGE_MALFORMED when the records that were read are not those of the index. */
export async function requireIndexOf(
  source: ByteSource,
  first: ZvhdPage,
  walk: RecordWalk,
  signal?: AbortSignal,
): Promise<void> {
  const listed = await readListedRecords(source, first, signal);
  const { list } = walk;
  let rank = 0;
  while (rank < list.count && isSameRecord(list, listed, rank)) rank++;
  if (rank === list.count && rank === listed.count) return;
  throw new ImageError('IMAGE_MALFORMED', `ZVHD2: record ${rank} is not the one that the index names`, {
    structure: 'ZVHD2 index',
    offsetBytes: list.offsetBytes(rank),
  });
}

function isSameRecord(a: RecordList, b: RecordList, rank: number): boolean {
  return a.block(rank) === b.block(rank) && a.offsetBytes(rank) === b.offsetBytes(rank);
}
