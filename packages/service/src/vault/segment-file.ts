import { type FileHandle, open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { storeError, syncFolder } from '@gantry/disk';
import { BLOCK_BYTES, PIECE_BYTES } from './block-record.ts';
import { corrupt } from './errors.ts';

/**
 * How a segment file begins, integers little endian; records follow (block-record.ts):
 *
 *   0   8  magic `GNTRYSEG`
 *   8   4  version 1
 *  12   4  guest bytes of a block
 *  16   4  guest bytes of a piece
 *  20   4  zero
 *  24  36  the segment's id, which is also the file's name
 *  60   4  CRC-32 of bytes 0 to 59
 */
export const SEGMENT_HEADER_BYTES = 64;
const MAGIC = 'GNTRYSEG';
const VERSION = 1;
const ID_OFFSET = 24;
const ID_BYTES = 36;
const CRC_OFFSET = 60;

function segmentHeader(id: string): Uint8Array {
  const header = new Uint8Array(SEGMENT_HEADER_BYTES);
  const encoder = new TextEncoder();
  encoder.encodeInto(MAGIC, header);
  const view = new DataView(header.buffer);
  view.setUint32(8, VERSION, true);
  view.setUint32(12, BLOCK_BYTES, true);
  view.setUint32(16, PIECE_BYTES, true);
  encoder.encodeInto(id, header.subarray(ID_OFFSET, ID_OFFSET + ID_BYTES));
  view.setUint32(CRC_OFFSET, crc32(header.subarray(0, CRC_OFFSET)), true);
  return header;
}

/** Makes the file of a new segment, durable with its name, and returns it open for appending. */
export async function createSegmentFile(folder: string, path: string, id: string): Promise<FileHandle> {
  const handle = await open(path, 'wx+').catch((error) => {
    throw storeError(error, path);
  });
  try {
    await writeFully(handle, [segmentHeader(id)], 0);
    await handle.sync();
    await syncFolder(folder);
    return handle;
  } catch (error) {
    await handle.close();
    throw storeError(error, path);
  }
}

/** Opens the file of a segment. Throws STORE_CORRUPT when it is not there or does not begin as it must. */
export async function openSegmentFile(path: string, id: string, flags: 'r' | 'r+'): Promise<FileHandle> {
  const handle = await open(path, flags).catch((error) => {
    if (error.code === 'ENOENT') throw corrupt(`the segment file ${path} is missing`, path);
    throw storeError(error, path);
  });
  try {
    const header = new Uint8Array(SEGMENT_HEADER_BYTES);
    await readFully(handle, [header], 0, path);
    const expected = segmentHeader(id);
    if (!header.every((byte, i) => byte === expected[i])) {
      throw corrupt(`${path} does not begin with the header of segment ${id}`, path);
    }
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Fills the buffers, one after the other, from `offsetBytes`. Throws STORE_CORRUPT when the file ends. */
export async function readFully(
  handle: FileHandle,
  buffers: readonly Uint8Array[],
  offsetBytes: number,
  path: string,
): Promise<void> {
  let rest = buffers;
  for (let at = offsetBytes; rest.length > 0; ) {
    const { bytesRead } = await handle.readv(rest, at).catch((error) => {
      throw storeError(error, path);
    });
    if (bytesRead === 0) throw corrupt(`${path} ends at byte ${at}, before data that it should hold`, path);
    at += bytesRead;
    rest = without(rest, bytesRead);
  }
}

/** Writes the buffers, one after the other, at `offsetBytes`. */
export async function writeFully(
  handle: FileHandle,
  buffers: readonly Uint8Array[],
  offsetBytes: number,
): Promise<void> {
  let rest = buffers;
  for (let at = offsetBytes; rest.length > 0; ) {
    const { bytesWritten } = await handle.writev(rest, at);
    at += bytesWritten;
    rest = without(rest, bytesWritten);
  }
}

/** The buffers without their first `count` bytes. */
function without(buffers: readonly Uint8Array[], count: number): Uint8Array[] {
  const rest: Uint8Array[] = [];
  let left = count;
  for (const buffer of buffers) {
    if (left < buffer.length) rest.push(left === 0 ? buffer : buffer.subarray(left));
    left = Math.max(0, left - buffer.length);
  }
  return rest;
}
