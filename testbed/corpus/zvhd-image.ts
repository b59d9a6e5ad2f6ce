import zlib from 'node:zlib';
import { bytesAt, type GoodImage, le32, le64, noise, pattern, type Structure, text, u8 } from './fields.ts';
import { bytesOf, imageOf, type Patch } from './image.ts';

const PAGE = 4096;
const BLOCK = 2 * 2 ** 20;
const INDEX_SEGMENT = 524_288;
const BITMAP_SEGMENT = 4096;

export interface ZvhdFields {
  /** ZVHD2 with zstd or zlib; plain ZVHD when absent. */
  readonly second?: 'zstd' | 'zlib';
  readonly sizeBytes?: number | bigint;
  /** Changes to every header; its checksum is right afterwards. */
  readonly header?: readonly Patch[];
  /** Changes to the last header alone. */
  readonly last?: readonly Patch[];
  /** Changes to the index, from its first byte. */
  readonly index?: readonly Patch[];
  readonly bitmap?: readonly Patch[];
  /** Changes to the record of block 0, after its end mark is written. */
  readonly record?: readonly Patch[];
  /** Instead of what block 0 is compressed to. */
  readonly payload?: Uint8Array;
  /** Block numbers that the records say, by their order. */
  readonly numbers?: readonly number[];
}

export interface ZvhdImage extends GoodImage {
  /** Where the records stand. */
  readonly records: readonly number[];
}

function header(fields: ZvhdFields, patches: readonly Patch[]): Uint8Array {
  const sizeBytes = BigInt(fields.sizeBytes ?? 3 * BLOCK - 8192);
  const bytes = bytesOf(
    imageOf(
      PAGE,
      text(0, fields.second === undefined ? 'stream\0\0' : 'z2strm\0\0'),
      le32(8, 2),
      le32(12, 0x00010000),
      le64(16, 2n ** 64n - 1n),
      text(28, 'tap\0'),
      le32(32, 0x00010004),
      le64(40, sizeBytes),
      le64(48, 2n ** 30n),
      le32(60, 4),
      bytesAt(68, noise(16)),
      ...(fields.second === undefined
        ? []
        : [u8(87, 1), le32(88, BLOCK), le32(92, 3), u8(141, fields.second === 'zstd' ? 1 : 0)]),
      ...patches,
      ...(fields.header ?? []),
      le32(64, 0),
    ),
  );
  const sum = bytes.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  new DataView(bytes.buffer).setUint32(64, 0xffffffff - sum, true);
  return bytes;
}

/** One block of the continuous zlib stream: raw deflate that is flushed whole, the first behind the zlib header. */
export function zlibBlock(plain: Uint8Array, isFirst: boolean): Uint8Array {
  const packed = zlib.deflateRawSync(plain, { finishFlush: zlib.constants.Z_FULL_FLUSH });
  return isFirst ? Buffer.concat([Buffer.from([0x78, 0x9c]), packed]) : packed;
}

function block(index: number): Uint8Array {
  return bytesOf(
    imageOf(BLOCK, bytesAt(0, noise(2048, index + 1)), bytesAt(BLOCK / 2, pattern(4096, index + 1))),
  );
}

/** Three blocks of 2 MiB, the second of zeros and so absent. */
export function zvhdImage(fields: ZvhdFields = {}): ZvhdImage {
  const { second, numbers = [0, 2] } = fields;
  const patches: Patch[] = [bytesAt(0, header(fields, []))];
  const structures: Structure[] = [{ name: 'header', offsetBytes: 0, lengthBytes: PAGE }];
  const content: Patch[] = [];
  const records: number[] = [];
  const entries: Patch[] = [];
  let at = PAGE;
  for (const [order, number] of [0, 2].entries()) {
    const plain = block(number);
    const packed =
      second === 'zstd' ? zlib.zstdCompressSync(plain) : zlibBlock(plain, order === 0 || second === 'zlib');
    const payload = order === 0 && fields.payload !== undefined ? fields.payload : packed;
    const lengthBytes = Math.ceil((48 + payload.length + 4) / PAGE) * PAGE;
    patches.push(
      text(at, 'hwstream bg\0'),
      le32(at + 12, payload.length),
      le32(at + 16, numbers[order] ?? number),
      bytesAt(at + 48, payload),
      text(at + lengthBytes - 4, 'end\0'),
    );
    if (order === 0) {
      const start = at;
      patches.push(
        ...(fields.record ?? []).map((patch) => ({ ...patch, offsetBytes: patch.offsetBytes + start })),
      );
    }
    entries.push(
      le64(order * 16, at),
      le32(order * 16 + 8, numbers[order] ?? number),
      le32(order * 16 + 12, lengthBytes),
    );
    structures.push({ name: `record of block ${number}`, offsetBytes: at, lengthBytes });
    content.push(
      bytesAt(number * BLOCK, plain.subarray(0, 2048)),
      bytesAt(number * BLOCK + BLOCK / 2, plain.subarray(BLOCK / 2, BLOCK / 2 + 4096)),
    );
    records.push(at);
    at += lengthBytes;
  }
  patches.push(bytesAt(at, header(fields, [])));
  structures.push({ name: 'header behind the records', offsetBytes: at, lengthBytes: PAGE });
  at += PAGE;
  if (second !== undefined) {
    const bitmapAt = at + INDEX_SEGMENT;
    const move = (patch: Patch, by: number) => ({ ...patch, offsetBytes: patch.offsetBytes + by });
    for (const patch of [...entries, ...(fields.index ?? [])]) patches.push(move(patch, at));
    for (const patch of [u8(0, 0b101), ...(fields.bitmap ?? [])]) patches.push(move(patch, bitmapAt));
    const place = [
      le64(96, at),
      le64(104, bitmapAt),
      le32(112, INDEX_SEGMENT),
      le32(116, BITMAP_SEGMENT),
      le32(120, INDEX_SEGMENT),
      le32(124, BITMAP_SEGMENT),
      le32(128, 1),
      le32(132, 1),
      le32(136, 2),
    ];
    structures.push({ name: 'index', offsetBytes: at, lengthBytes: INDEX_SEGMENT });
    structures.push({ name: 'bitmap', offsetBytes: bitmapAt, lengthBytes: BITMAP_SEGMENT });
    at = bitmapAt + BITMAP_SEGMENT;
    patches.push(bytesAt(at, header(fields, [...place, ...(fields.last ?? [])])));
    structures.push({ name: 'last header', offsetBytes: at, lengthBytes: PAGE });
    at += PAGE;
  } else if (fields.last !== undefined) {
    patches.push(bytesAt(at - PAGE, header(fields, fields.last)));
  }
  return {
    image: imageOf(at, ...patches),
    content: imageOf(Number(fields.sizeBytes ?? 3 * BLOCK - 8192), ...content),
    structures,
    records,
  };
}
