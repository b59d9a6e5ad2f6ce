import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { viewOf } from '../../bytes/fields.ts';
import { tool } from '../images.testkit.ts';
import { checksumOf } from './footer.ts';

const KIB = 1024;

/** Fields of a dynamic VHD by the specification's names; what is not given makes a good small image. */
export interface VhdFields {
  readonly version?: number;
  readonly dataOffset?: bigint;
  readonly originalSize?: bigint;
  readonly currentSize?: bigint;
  readonly type?: number;
  readonly savedState?: number;
  readonly headerCookie?: string;
  readonly tableOffset?: bigint;
  readonly headerVersion?: number;
  readonly maxTableEntries?: number;
  readonly blockSize?: number;
  readonly parentName?: string;
  /** Locators as [code, name]; their text stands at 4096, 512 bytes each. */
  readonly locators?: readonly (readonly [code: string, name: string])[];
  readonly locatorLength?: number;
  /** The table: sector numbers, or positions of blocks in the file when below 100. */
  readonly table?: readonly number[];
  /** Blocks that the file holds, by position. */
  readonly storedBlocks?: number;
  /** Sector bitmaps by position: one byte repeated, or the bytes from the first on. */
  readonly bitmaps?: Readonly<Record<number, number | Uint8Array>>;
  /** What the blocks hold; `storedByte` when not given. */
  readonly data?: (position: number, within: number) => number;
  /** One byte, repeated. */
  readonly uniqueId?: number;
  readonly timeStamp?: number;
  readonly parentUniqueId?: number;
  readonly parentTimeStamp?: number;
  readonly footerBytes?: 512 | 511 | 0;
}

export const UNUSED = 0xffffffff;
export const BLOCK_BYTES = 64 * KIB;
/** Where the blocks begin, and how far apart they are: a bitmap of one sector before each. */
export const BLOCKS_OFFSET = 8192;
export const STRIDE_BYTES = 512 + BLOCK_BYTES;

/** What the block at a position holds. */
export function storedByte(position: number, within: number): number {
  return 1 + ((position * 31 + Math.floor(within / 512)) % 200);
}

/** A dynamic VHD with blocks of 64 KiB: footer copy, header at 512, table at 1536, locators, blocks, footer. */
export function vhdFile(fields: VhdFields = {}): Uint8Array {
  const table = fields.table ?? [1, UNUSED, 0, UNUSED];
  const storedBlocks = fields.storedBlocks ?? table.filter((entry) => entry < 100).length;
  const footerBytes = fields.footerBytes ?? 512;
  const dataEnd = BLOCKS_OFFSET + storedBlocks * STRIDE_BYTES;
  const file = new Uint8Array(dataEnd + footerBytes);
  const footer = footerOf(fields, table.length);
  file.set(footer);
  file.set(headerOf(fields, table.length), 512);
  const view = viewOf(file);
  for (const [block, entry] of table.entries()) {
    const sector = entry < 100 ? (BLOCKS_OFFSET + entry * STRIDE_BYTES) / 512 : entry;
    view.setUint32(1536 + block * 4, sector);
  }
  for (const [i, [code, name]] of (fields.locators ?? []).entries()) {
    file.set(Buffer.from(name, code === 'MacX' ? 'utf8' : 'utf16le'), 4096 + i * 512);
  }
  for (let position = 0; position < storedBlocks; position++) {
    const start = BLOCKS_OFFSET + position * STRIDE_BYTES;
    const bitmap = fields.bitmaps?.[position] ?? 0xff;
    if (typeof bitmap === 'number') file.fill(bitmap, start, start + 512);
    else file.set(bitmap, start);
    for (let at = 0; at < BLOCK_BYTES; at += 512) {
      file.fill((fields.data ?? storedByte)(position, at), start + 512 + at, start + 1024 + at);
    }
  }
  file.set(footer.subarray(0, footerBytes), dataEnd);
  return file;
}

/** A fixed VHD around these bytes. */
export function fixedVhd(disk: Uint8Array, fields: VhdFields = {}): Uint8Array {
  const footer = footerOf(
    { type: 2, dataOffset: 2n ** 64n - 1n, currentSize: BigInt(disk.length), ...fields },
    0,
  );
  const file = new Uint8Array(disk.length + (fields.footerBytes ?? 512));
  file.set(disk);
  file.set(footer.subarray(0, fields.footerBytes ?? 512), disk.length);
  return file;
}

function footerOf(fields: VhdFields, entryCount: number): Uint8Array {
  const bytes = new Uint8Array(512);
  const view = viewOf(bytes);
  const size = fields.currentSize ?? BigInt(entryCount * (fields.blockSize ?? BLOCK_BYTES));
  bytes.set(Buffer.from('conectix'));
  view.setUint32(8, 2);
  view.setUint32(12, fields.version ?? 0x00010000);
  view.setBigUint64(16, fields.dataOffset ?? 512n);
  view.setUint32(24, fields.timeStamp ?? 0);
  bytes.set(Buffer.from('vpc '), 28);
  view.setUint32(32, 0x00050003);
  bytes.set(Buffer.from('Wi2k'), 36);
  view.setBigUint64(40, fields.originalSize ?? size);
  view.setBigUint64(48, size);
  view.setUint16(56, 100);
  view.setUint8(58, 4);
  view.setUint8(59, 17);
  view.setUint32(60, fields.type ?? 3);
  bytes.fill(fields.uniqueId ?? 0x44, 68, 84);
  view.setUint8(84, fields.savedState ?? 0);
  view.setUint32(64, checksumOf(bytes, 64));
  return bytes;
}

function headerOf(fields: VhdFields, entryCount: number): Uint8Array {
  const bytes = new Uint8Array(1024);
  const view = viewOf(bytes);
  bytes.set(Buffer.from(fields.headerCookie ?? 'cxsparse'));
  view.setBigUint64(8, 2n ** 64n - 1n);
  view.setBigUint64(16, fields.tableOffset ?? 1536n);
  view.setUint32(24, fields.headerVersion ?? 0x00010000);
  view.setUint32(28, fields.maxTableEntries ?? entryCount);
  view.setUint32(32, fields.blockSize ?? BLOCK_BYTES);
  bytes.fill(fields.parentUniqueId ?? 0, 40, 56);
  view.setUint32(56, fields.parentTimeStamp ?? 0);
  bytes.set(Buffer.from(fields.parentName ?? '', 'utf16le').swap16(), 64);
  for (const [i, [code, name]] of (fields.locators ?? []).entries()) {
    const at = 576 + i * 24;
    bytes.set(Buffer.from(code), at);
    view.setUint32(at + 4, 512);
    view.setUint32(at + 8, fields.locatorLength ?? name.length * (code === 'MacX' ? 1 : 2));
    view.setBigUint64(at + 16, BigInt(4096 + i * 512));
  }
  view.setUint32(36, checksumOf(bytes, 36));
  return bytes;
}

/** What the guest sees of such a dynamic disk when every sector is used. */
export function guestBytes(
  table: readonly number[],
  sizeBytes: number = table.length * BLOCK_BYTES,
): Uint8Array {
  const bytes = new Uint8Array(table.length * BLOCK_BYTES);
  for (const [block, position] of table.entries()) {
    for (let at = 0; position < 100 && at < BLOCK_BYTES; at += 512) {
      bytes.fill(storedByte(position, at), block * BLOCK_BYTES + at, block * BLOCK_BYTES + at + 512);
    }
  }
  return bytes.subarray(0, sizeBytes);
}

/**
 * Reads a VHD and its parents, the youngest first, with libvhdi: by the sector, since a longer read of a child goes
 * on in the parent where its next block is not.
 */
const LIBVHDI = `
import ctypes, sys
lib = ctypes.CDLL('libvhdi.so.1')
def need(result):
    if result != 1: raise SystemExit('libvhdi refuses')
def opened(path):
    disk = ctypes.c_void_p()
    need(lib.libvhdi_file_initialize(ctypes.byref(disk), None))
    need(lib.libvhdi_file_open(disk, path.encode(), 1, None))
    return disk
target, *paths = sys.argv[1:]
chain = [opened(path) for path in paths]
for child, parent in reversed(list(zip(chain, chain[1:]))):
    need(lib.libvhdi_file_set_parent_file(child, parent, None))
size = ctypes.c_uint64()
need(lib.libvhdi_file_get_media_size(chain[0], ctypes.byref(size), None))
lib.libvhdi_file_read_buffer_at_offset.restype = ctypes.c_ssize_t
lib.libvhdi_file_read_buffer_at_offset.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64, ctypes.c_void_p]
with open(target, 'wb') as out:
    at = 0
    buffer = ctypes.create_string_buffer(512)
    while at < size.value:
        count = lib.libvhdi_file_read_buffer_at_offset(chain[0], buffer, min(512, size.value - at), at, None)
        if count <= 0: raise SystemExit('libvhdi cannot read at %d' % at)
        out.write(buffer.raw[:count])
        at += count
`;

/** What libvhdi shows of a VHD file and its parents, the youngest first. */
export async function libvhdiBytes(folder: string, ...paths: readonly string[]): Promise<Uint8Array> {
  const target = join(folder, 'libvhdi.raw');
  await tool('python3', '-c', LIBVHDI, target, ...paths);
  return readFile(target);
}
