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
  be16,
  be32,
  be64,
  bytesAt,
  cuts,
  type GoodImage,
  noise,
  pattern,
  type Structure,
  text,
  u8,
} from './fields.ts';
import { bent, bytesOf, type CorpusImage, imageOf, type Patch, resized } from './image.ts';

const format = 'vhd';
const UNUSED = 0xffffffff;
const BLOCK = 65536;
const STRIDE = BLOCK + 512;
const NO_OFFSET = 2n ** 64n - 1n;

interface FooterFields {
  readonly type: number;
  readonly sizeBytes: number | bigint;
  readonly dataOffset: bigint | number;
  readonly patches?: readonly Patch[];
}

/** The ones' complement of the sum of the bytes, the field itself left out. */
export function withVhdChecksum(bytes: Uint8Array, at: number): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  view.setUint32(at, 0);
  view.setUint32(at, 0xffffffff - bytes.reduce((sum, byte) => sum + byte, 0));
  return bytes;
}

/** A footer whose checksum is right whatever was bent in it. */
export function vhdFooter({ type, sizeBytes, dataOffset, patches = [] }: FooterFields): Uint8Array {
  const image = imageOf(
    512,
    text(0, 'conectix'),
    be32(8, 2),
    be32(12, 0x00010000),
    be64(16, dataOffset),
    text(28, 'win '),
    be32(32, 0x000a0000),
    text(36, 'Wi2k'),
    be64(40, sizeBytes),
    be64(48, sizeBytes),
    be16(56, 2),
    u8(58, 4),
    u8(59, 17),
    be32(60, type),
    bytesAt(68, noise(16)),
    ...patches,
  );
  return withVhdChecksum(bytesOf(image), 64);
}

export interface VhdFields {
  readonly type?: number;
  readonly table?: readonly number[];
  readonly sizeBytes?: number | bigint;
  readonly footer?: readonly Patch[];
  readonly header?: readonly Patch[];
  readonly dataOffset?: bigint | number;
  /** Bits of the sector bitmaps: 0xff for all. */
  readonly bitmap?: number;
}

/** Three blocks of 64 KiB, positions in `table`; 2048 is where the first stands. */
export function vhdImage(fields: VhdFields = {}): GoodImage {
  const { table = [1, UNUSED, 0], type = 3, dataOffset = 512, bitmap = 0xff } = fields;
  const sizeBytes = fields.sizeBytes ?? table.length * BLOCK;
  const footer = vhdFooter({ type, sizeBytes, dataOffset, patches: fields.footer ?? [] });
  const header = imageOf(
    1024,
    text(0, 'cxsparse'),
    be64(8, NO_OFFSET),
    be64(16, 1536),
    be32(24, 0x00010000),
    be32(28, table.length),
    be32(32, BLOCK),
    ...(fields.header ?? []),
  );
  const stored = table.filter((entry) => entry < 100).length;
  const end = 2048 + stored * STRIDE;
  const patches: Patch[] = [
    bytesAt(0, footer),
    bytesAt(512, withVhdChecksum(bytesOf(header), 36)),
    { offsetBytes: 1536, bytes: Uint8Array.of(0xff), count: 512 },
    bytesAt(end, footer),
  ];
  const content: Patch[] = [];
  const structures: Structure[] = [
    { name: 'footer copy', offsetBytes: 0, lengthBytes: 512, cut: NO_FOOTER },
    { name: 'dynamic header', offsetBytes: 512, lengthBytes: 1024 },
    { name: 'block allocation table', offsetBytes: 1536, lengthBytes: table.length * 4 },
  ];
  for (const [block, entry] of table.entries()) {
    patches.push(be32(1536 + block * 4, entry < 100 ? (2048 + entry * STRIDE) / 512 : entry));
    if (entry >= 100) continue;
    const at = 2048 + entry * STRIDE;
    const data = block % 2 === 0 ? noise(BLOCK, block + 1) : pattern(BLOCK, block + 1);
    patches.push({ offsetBytes: at, bytes: Uint8Array.of(bitmap), count: 512 }, bytesAt(at + 512, data));
    content.push(bytesAt(block * BLOCK, data));
    structures.push({ name: `sector bitmap of block ${block}`, offsetBytes: at, lengthBytes: 512 });
    structures.push({ name: `block ${block}`, offsetBytes: at + 512, lengthBytes: BLOCK });
  }
  return {
    image: imageOf(end + 512, ...patches),
    content: imageOf(Number(sizeBytes), ...content),
    structures,
  };
}

const NO_FOOTER = refusedWith('IMAGE_MALFORMED', 'IMAGE_TRUNCATED');

export function fixedVhdImage(
  sizeBytes: number,
  footer: readonly Patch[] = [],
  fields: Partial<FooterFields> = {},
): GoodImage {
  const data = noise(sizeBytes, 9);
  const bytes = vhdFooter({ type: 2, sizeBytes, dataOffset: NO_OFFSET, patches: footer, ...fields });
  return {
    image: imageOf(sizeBytes + 512, bytesAt(0, data), bytesAt(sizeBytes, bytes)),
    content: imageOf(sizeBytes, bytesAt(0, data)),
    structures: [
      { name: 'disk', offsetBytes: 0, lengthBytes: sizeBytes, cut: NO_FOOTER },
      { name: 'footer', offsetBytes: sizeBytes, lengthBytes: 510, cut: MALFORMED },
    ],
  };
}

function* dynamicCases(): Generator<HostileCase> {
  const good = vhdImage();
  const list: readonly (readonly [string, VhdFields, Expected])[] = [
    ['version 2 of the format', { footer: [be32(12, 0x00020000)] }, UNSUPPORTED],
    ['type 0', { type: 0 }, MALFORMED],
    ['type 1', { type: 1 }, MALFORMED],
    ['type 5', { type: 5 }, MALFORMED],
    ['type 9', { type: 9 }, MALFORMED],
    ['a differencing disk', { type: 4, header: [bytesAt(64, utf16('parent.vhd'))] }, REFERENCE],
    [
      'a differencing disk whose parent is /etc/passwd',
      { type: 4, header: [bytesAt(64, utf16('/etc/passwd'))] },
      REFERENCE,
    ],
    ['a differencing disk without a name', { type: 4 }, REFERENCE],
    [
      'a locator of 2^31 bytes',
      { type: 4, header: [text(576, 'W2ru'), be32(580, 512), be32(584, 2 ** 31), be64(592, 4096)] },
      refusedWith('IMAGE_LIMIT', 'IMAGE_TRUNCATED'),
    ],
    [
      'a locator past the end',
      { type: 4, header: [text(576, 'W2ru'), be32(580, 512), be32(584, 20), be64(592, 2n ** 40n)] },
      TRUNCATED,
    ],
    [
      'a locator at 2^63',
      { type: 4, header: [text(576, 'W2ru'), be32(580, 512), be32(584, 20), be64(592, 2n ** 63n)] },
      LIMIT,
    ],
    ['current size 0', { sizeBytes: 0 }, MALFORMED],
    ['current size 2^62', { sizeBytes: 2n ** 62n }, LIMIT],
    ['current size 2^63', { sizeBytes: 2n ** 63n }, LIMIT],
    ['current size 2^40 with a small table', { sizeBytes: 2n ** 40n }, MALFORMED],
    ['current size of 2 TiB and a sector', { sizeBytes: 2n ** 41n + 512n }, LIMIT],
    ['original size 2^63', { footer: [be64(40, 2n ** 63n)] }, refusedOrReads(good.content, 'IMAGE_LIMIT')],
    ['data offset 0', { dataOffset: 0 }, MALFORMED],
    ['data offset -1', { dataOffset: NO_OFFSET }, MALFORMED],
    ['data offset 2^63', { dataOffset: 2n ** 63n }, LIMIT],
    ['data offset past the end', { dataOffset: 2n ** 40n }, TRUNCATED],
    ['data offset in a block', { dataOffset: 4096 }, MALFORMED],
    ['no cookie in the header', { header: [u8(0, 0)] }, MALFORMED],
    ['header version 2', { header: [be32(24, 0x00020000)] }, UNSUPPORTED],
    ['block size 0', { header: [be32(32, 0)] }, MALFORMED],
    ['block size 256', { header: [be32(32, 256)] }, MALFORMED],
    ['block size 3 MiB', { header: [be32(32, 3 * 2 ** 20)] }, MALFORMED],
    [
      'block size 2^31',
      { header: [be32(32, 2 ** 31)] },
      refusedWith('IMAGE_MALFORMED', 'IMAGE_LIMIT', 'IMAGE_TRUNCATED'),
    ],
    ['block size 512', { header: [be32(32, 512)] }, MALFORMED],
    ['0xffffffff table entries', { header: [be32(28, 0xffffffff)] }, LIMIT],
    ['4000000 table entries', { header: [be32(28, 4_000_000)] }, TRUNCATED],
    ['too few table entries', { header: [be32(28, 2)] }, MALFORMED],
    ['0 table entries', { header: [be32(28, 0)] }, MALFORMED],
    ['table past the end', { header: [be64(16, 2n ** 40n)] }, TRUNCATED],
    ['table at 2^64 - 1', { header: [be64(16, NO_OFFSET)] }, LIMIT],
    ['table over the footer copy', { header: [be64(16, 256)] }, MALFORMED],
    ['table over the header', { header: [be64(16, 1024)] }, MALFORMED],
    ['table in a block', { header: [be64(16, 4096)] }, refusedWith('IMAGE_MALFORMED', 'IMAGE_TRUNCATED')],
    ['a block past the end', { table: [0, 1, 0x7fffffff] }, TRUNCATED],
    ['a block at the last sector number', { table: [0, 0xfffffffe] }, TRUNCATED],
    ['two blocks at one place', { table: [0, 1, 0] }, refusedWith('IMAGE_MALFORMED', 'IMAGE_TRUNCATED')],
    ['blocks over each other', { table: [0, 101, 2] }, refusedWith('IMAGE_MALFORMED', 'IMAGE_TRUNCATED')],
  ];
  for (const [what, fields, expected] of list) {
    yield { name: `vhd: ${what}`, format, image: vhdImage(fields).image, expected };
  }
  for (const sector of [0, 1, 2, 3]) {
    yield {
      name: `vhd: a block at sector ${sector}, over the metadata`,
      format,
      image: bent(good.image, be32(1536, sector)),
      expected: MALFORMED,
    };
  }
  yield {
    name: 'vhd: bitmaps that say that no sector is used, over data',
    format,
    image: vhdImage({ bitmap: 0 }).image,
    expected: { reads: imageOf(3 * BLOCK), warning: 'bitmap' },
    // qemu does not look at them.
  };
}

function* endCases(): Generator<HostileCase> {
  const good = vhdImage();
  const same = readsAs(good.content);
  const end = good.image.lengthBytes - 512;
  const warned = (warning: string): Expected => ({ ...same, warning });
  const list: readonly (readonly [string, CorpusImage, Expected])[] = [
    ['good, declared', good.image, same],
    ['a damaged footer', bent(good.image, u8(end + 30, 99)), warned('footer')],
    ['a damaged copy of the footer', bent(good.image, u8(30, 99)), warned('copy')],
    ['both footers damaged', bent(good.image, u8(30, 99), u8(end + 30, 99)), MALFORMED],
    ['no footer at the end', resized(good.image, end), warned('footer')],
    ['half a footer at the end', resized(good.image, end + 256), warned('footer')],
    ['a footer of 511 bytes', resized(good.image, end + 511), same],
    ['something behind the footer', bent(good.image, u8(end + 1000, 1)), warned('footer')],
    ['a header with a wrong checksum', bent(good.image, u8(512 + 1000, 1)), MALFORMED],
    [
      'a footer that differs from its copy',
      bent(
        good.image,
        bytesAt(
          end,
          vhdFooter({ type: 3, sizeBytes: 3 * BLOCK, dataOffset: 512, patches: [text(28, 'vbox')] }),
        ),
      ),
      warned('differ'),
    ],
    [
      'a copy that says another size',
      bent(good.image, bytesAt(0, vhdFooter({ type: 3, sizeBytes: BLOCK, dataOffset: 512 }))),
      warned('differ'),
    ],
    [
      'a copy that says it is fixed',
      bent(good.image, bytesAt(0, vhdFooter({ type: 2, sizeBytes: BLOCK, dataOffset: NO_OFFSET }))),
      warned('differ'),
    ],
    [
      'a footer that says it is fixed',
      bent(good.image, bytesAt(end, vhdFooter({ type: 2, sizeBytes: 2048, dataOffset: NO_OFFSET }))),
      readsFront(good, 2048),
    ],
  ];
  for (const [what, image, expected] of list) {
    // From a stream the copy in front is all that is known until the end.
    yield { name: `vhd: ${what}`, format, image, expected, forward: refusedWith('IMAGE_MALFORMED') };
  }
  for (const hostile of cuts('vhd', good, { format })) yield hostile;
}

/** The file's front taken as a fixed disk: what its footer says. */
function readsFront({ image }: GoodImage, sizeBytes: number): Expected {
  return readsAs(imageOf(sizeBytes, bytesAt(0, bytesOf(image).subarray(0, sizeBytes))));
}

function* fixedCases(): Generator<HostileCase> {
  const good = fixedVhdImage(65536);
  yield { name: 'vhd fixed: good, declared', format, image: good.image, expected: readsAs(good.content) };
  yield { name: 'vhd fixed: good, by its footer', image: good.image, expected: readsAs(good.content) };
  yield* cuts('vhd fixed', good, { format });
  const list: readonly (readonly [string, CorpusImage, Expected])[] = [
    ['larger than its file', fixedVhdImage(65536, [], { sizeBytes: 65536 + 512 }).image, TRUNCATED],
    [
      'smaller than its file',
      fixedVhdImage(65536, [], { sizeBytes: 512 }).image,
      { ...readsAs(resized(good.content, 512)), warning: 'ignored' },
    ],
    ['of 2^63 bytes', fixedVhdImage(65536, [], { sizeBytes: 2n ** 63n }).image, LIMIT],
    ['of 64 TiB and a sector', fixedVhdImage(65536, [], { sizeBytes: 2n ** 46n + 512n }).image, LIMIT],
    ['of 0 bytes', fixedVhdImage(65536, [], { sizeBytes: 0 }).image, MALFORMED],
    ['whose footer is damaged', bent(good.image, u8(65536 + 100, 1)), MALFORMED],
    ['without a footer', resized(good.image, 65536), MALFORMED],
    [
      'without a footer, the guest wrote one at byte 0',
      bent(
        resized(good.image, 65536),
        bytesAt(0, vhdFooter({ type: 2, sizeBytes: 65536, dataOffset: NO_OFFSET })),
      ),
      MALFORMED,
    ],
    [
      'in a saved state',
      fixedVhdImage(65536, [u8(84, 1)]).image,
      { ...readsAs(good.content), warning: 'saved state' },
    ],
  ];
  for (const [what, image, expected] of list) yield { name: `vhd fixed: ${what}`, format, image, expected };
  yield {
    name: 'vhd fixed: a sparse file of 1 TiB',
    image: imageOf(
      2 ** 40 + 512,
      bytesAt(2 ** 40, vhdFooter({ type: 2, sizeBytes: 2 ** 40, dataOffset: NO_OFFSET })),
    ),
    expected: readsAs(imageOf(2 ** 40)),
  };
  yield {
    name: 'vhd fixed: without its footer it is raw',
    image: resized(good.image, 65536),
    expected: readsAs(good.content),
  };
}

function utf16(name: string): Uint8Array {
  return Buffer.from(name, 'utf16le').swap16();
}

function* cases(): Generator<HostileCase> {
  yield* dynamicCases();
  yield* endCases();
  yield* fixedCases();
}

export const vhd: Family = { name: 'vhd', cases };
