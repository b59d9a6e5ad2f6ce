import {
  type Expected,
  type Family,
  type HostileCase,
  LIMIT,
  MALFORMED,
  REFERENCE,
  readsAs,
  refusedOrReads,
  refusedWith,
  TRUNCATED,
  UNSUPPORTED,
} from './case.ts';
import {
  bytesAt,
  cuts,
  type GoodImage,
  le32,
  le64,
  noise,
  pattern,
  type Structure,
  text,
  u8,
} from './fields.ts';
import { bent, type CorpusImage, imageOf, type Patch, resized } from './image.ts';

const format = 'vdi';
const MIB = 2 ** 20;
const FREE = 0xffffffff;
const ZERO = 0xfffffffe;
const DATA = 4096;

export interface VdiFields {
  readonly map?: readonly number[];
  readonly sizeBytes?: number;
  readonly headerBytes?: 384 | 400;
  readonly blockBytes?: number;
  readonly extraBytes?: number;
  readonly type?: number;
}

/** Blocks of 1 MiB with a few KiB of data in each; a later block need not stand behind an earlier one. */
export function vdiImage(fields: VdiFields = {}): GoodImage {
  const { map = [1, FREE, 0, ZERO], headerBytes = 400, blockBytes = MIB, extraBytes = 0, type = 1 } = fields;
  const sizeBytes = fields.sizeBytes ?? map.length * blockBytes;
  const stored = map.filter((entry) => entry < ZERO);
  const dataOffset = 1024;
  const patches: Patch[] = [
    text(0, '<<< Oracle VM VirtualBox Disk Image >>>\n'),
    le32(64, 0xbeda107f),
    le32(68, 0x00010001),
    le32(72, headerBytes),
    le32(76, type),
    le32(340, 512),
    le32(344, dataOffset),
    le32(360, 512),
    le64(368, sizeBytes),
    le32(376, blockBytes),
    le32(380, extraBytes),
    le32(384, map.length),
    le32(388, stored.length),
    bytesAt(392, noise(16, 3)),
    bytesAt(408, noise(16, 4)),
  ];
  if (headerBytes >= 400) patches.push(le32(468, 512));
  const content: Patch[] = [];
  const structures: Structure[] = [
    { name: 'header', offsetBytes: 0, lengthBytes: 72 + headerBytes },
    { name: 'block map', offsetBytes: 512, lengthBytes: map.length * 4 },
  ];
  for (const [block, entry] of map.entries()) {
    patches.push(le32(512 + block * 4, entry));
    if (entry >= ZERO) continue;
    const at = dataOffset + entry * (blockBytes + extraBytes) + extraBytes;
    const data = [noise(DATA, block + 1), pattern(DATA, block + 1)] as const;
    const places = [0, Math.min(blockBytes, sizeBytes - block * blockBytes) - DATA] as const;
    for (const [index, within] of places.entries()) {
      patches.push(bytesAt(at + within, data[index] ?? data[0]));
      content.push(bytesAt(block * blockBytes + within, data[index] ?? data[0]));
    }
    if (extraBytes > 0)
      patches.push({ offsetBytes: at - extraBytes, bytes: Uint8Array.of(0xee), count: extraBytes });
    structures.push({ name: `block ${block}`, offsetBytes: at, lengthBytes: places[1] + DATA });
  }
  const lengthBytes = dataOffset + stored.length * (blockBytes + extraBytes);
  return { image: imageOf(lengthBytes, ...patches), content: imageOf(sizeBytes, ...content), structures };
}

type Row = readonly [what: string, expected: Expected, ...patches: readonly Patch[]];

function headerRows(same: Expected): Row[] {
  return [
    ['no signature', MALFORMED, le32(64, 0)],
    [
      'version 0.2, whose header is another',
      refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED'),
      le32(68, 2),
    ],
    ['version 1.2', UNSUPPORTED, le32(68, 0x00010002)],
    ['version 0xffffffff', UNSUPPORTED, le32(68, 0xffffffff)],
    ['cbHeader 383', MALFORMED, le32(72, 383)],
    ['cbHeader 0', MALFORMED, le32(72, 0)],
    ['cbHeader over the map', MALFORMED, le32(72, 500)],
    ['cbHeader 0xffffffff', MALFORMED, le32(72, 0xffffffff)],
    ['type 0', MALFORMED, le32(76, 0)],
    ['type 5', MALFORMED, le32(76, 5)],
    ['an undo image', UNSUPPORTED, le32(76, 3)],
    ['a differencing image without a parent', UNSUPPORTED, le32(76, 4)],
    ['a differencing image with a parent', REFERENCE, le32(76, 4), bytesAt(424, noise(16))],
    ['a base image that names a parent', REFERENCE, bytesAt(424, noise(16))],
    ['unknown flags', UNSUPPORTED, le32(80, 2)],
    ['cbDisk 0', MALFORMED, le64(368, 0)],
    ['cbDisk 2^53', LIMIT, le64(368, 2n ** 53n)],
    ['cbDisk 2^63', LIMIT, le64(368, 2n ** 63n)],
    ['cbDisk 2^64 - 1', LIMIT, le64(368, 2n ** 64n - 1n)],
    ['cbDisk of 64 TiB and a sector', LIMIT, le64(368, 2n ** 46n + 512n)],
    ['cbDisk of more than the blocks', MALFORMED, le64(368, 4 * MIB + 512)],
    ['cbBlock 0', MALFORMED, le32(376, 0)],
    ['cbBlock 3 MiB', MALFORMED, le32(376, 3 * MIB)],
    ['cbBlock 2^31', LIMIT, le32(376, 2 ** 31)],
    ['cbBlock 1', refusedWith('IMAGE_MALFORMED', 'IMAGE_UNSUPPORTED'), le32(376, 1)],
    ['cbBlockExtra 513', MALFORMED, le32(380, 513)],
    ['cbBlockExtra 0x80000000', LIMIT, le32(380, 2 ** 31)],
    ['cBlocks 0', MALFORMED, le32(384, 0)],
    ['cBlocks 1', MALFORMED, le32(384, 1)],
    ['cBlocks 0xffffffff', LIMIT, le32(384, 0xffffffff)],
    ['cBlocks 1000, a map over the data', MALFORMED, le32(384, 1000)],
    ['cBlocksAllocated more than cBlocks', MALFORMED, le32(388, 99)],
    ['offBlocks 0', MALFORMED, le32(340, 0)],
    ['offBlocks in the header', MALFORMED, le32(340, 400)],
    ['offBlocks past the end', refusedWith('IMAGE_TRUNCATED', 'IMAGE_MALFORMED'), le32(340, 0xfffffe00)],
    ['offData past the end', TRUNCATED, le32(344, 0xfffffe00)],
    ['offData before the map', MALFORMED, le32(344, 400)],
    ['offData in the map', MALFORMED, le32(344, 520)],
    ['null UUIDs', { ...same, warning: 'null' }, bytesAt(392, new Uint8Array(32))],
    ['a geometry of 4096-byte sectors', { ...same, warning: '4096' }, le32(468, 4096)],
    ['no text in front', same, bytesAt(0, new Uint8Array(64))],
    ['position past the blocks', MALFORMED, le32(512, 4)],
    ['position 0xfffffffd', MALFORMED, le32(512, 0xfffffffd)],
    ['position past the end of the file', TRUNCATED, le32(512, 2)],
    ['two blocks at one position', MALFORMED, le32(512, 0)],
  ];
}

function* cases(): Generator<HostileCase> {
  const good = vdiImage();
  const same = readsAs(good.content);
  const one = (name: string, image: CorpusImage, expected: Expected): HostileCase => ({
    name: `vdi: ${name}`,
    format,
    image,
    expected,
  });
  yield one('good, declared', good.image, same);
  yield { name: 'vdi: good, by its mark', image: good.image, expected: same };
  for (const [name, expected, ...patches] of headerRows(same))
    yield one(name, bent(good.image, ...patches), expected);
  yield* cuts('vdi', good, { format });
  const old = vdiImage({ headerBytes: 384, sizeBytes: 3 * MIB + 5 * 512 + 4096 });
  yield one('good, header of 384 bytes, a size that fills no block', old.image, readsAs(old.content));
  yield* cuts('vdi with a header of 384 bytes', old, { format });
  const extra = vdiImage({ extraBytes: 512 });
  yield one('good, 512 extra bytes in front of each block', extra.image, readsAs(extra.content));
  const fixed = vdiImage({ type: 2, map: [0, 1, 2] });
  yield one('good, fixed', fixed.image, readsAs(fixed.content));
  const shared = vdiImage({ map: [0, ...Array.from({ length: 999 }, () => FREE)] });
  const all = { ...le32(512, 0), count: 100 };
  yield {
    ...one(
      '100 blocks at one position',
      bent(shared.image, le32(344, 8192), all),
      refusedWith('IMAGE_MALFORMED', 'IMAGE_TRUNCATED'),
    ),
  };
  for (const blockBytes of [512, 4096, 65536, 2 * MIB, 8 * MIB]) {
    const other = vdiImage({ blockBytes, map: [0, FREE], sizeBytes: Math.max(2 * blockBytes, 8192) });
    const enough = blockBytes >= 8192 ? other : resizedMap(blockBytes);
    yield one(
      `blocks of ${blockBytes} bytes`,
      enough.image,
      refusedOrReads(enough.content, 'IMAGE_UNSUPPORTED', 'IMAGE_LIMIT'),
    );
  }
  const short = vdiImage({ map: [0, FREE, 1], sizeBytes: 2 * MIB + 16 * 512 });
  const shortened = resized(short.image, short.image.lengthBytes - MIB + 16 * 512);
  yield one('the file ends in the last block, behind the disk', shortened, readsAs(short.content));
  yield {
    ...one(
      'a signature in a file of 68 bytes',
      imageOf(68, u8(64, 0x7f), u8(65, 0x10), u8(66, 0xda), u8(67, 0xbe)),
      TRUNCATED,
    ),
  };
}

/** Blocks that are shorter than the data that the others hold. */
function resizedMap(blockBytes: number): { image: CorpusImage; content: CorpusImage } {
  const data = noise(blockBytes);
  const good = vdiImage({ map: [FREE, FREE] });
  return {
    image: bent(
      resized(good.image, 1024 + blockBytes),
      le64(368, 2 * blockBytes),
      le32(376, blockBytes),
      le32(388, 1),
      le32(512, 0),
      bytesAt(1024, data),
    ),
    content: imageOf(2 * blockBytes, bytesAt(0, data)),
  };
}

export const vdi: Family = { name: 'vdi', cases };
