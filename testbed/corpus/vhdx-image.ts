import { bytesAt, type GoodImage, le16, le32, le64, noise, pattern, type Structure, text } from './fields.ts';
import { bytesOf, type CorpusImage, imageOf, type Patch } from './image.ts';

const KIB = 1024;
const MIB = 2 ** 20;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = (value & 1) === 1 ? 0x82f63b78 ^ (value >>> 1) : value >>> 1;
  return value >>> 0;
});

/** CRC-32C (Castagnoli), which every structure of VHDX carries. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (CRC_TABLE[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** The bytes of a structure with its CRC, four bytes at `at`. */
export function withCrc(lengthBytes: number, at: number, ...patches: readonly Patch[]): Uint8Array {
  const bytes = bytesOf(imageOf(lengthBytes, ...patches, le32(at, 0)));
  new DataView(bytes.buffer).setUint32(at, crc32c(bytes), true);
  return bytes;
}

/** A GUID as it stands on disk: its first three fields little endian. */
export function guid(text: string): Uint8Array {
  const hex = Buffer.from(text.replaceAll('-', ''), 'hex');
  return Buffer.concat([
    hex.subarray(0, 4).reverse(),
    hex.subarray(4, 6).reverse(),
    hex.subarray(6, 8).reverse(),
    hex.subarray(8),
  ]);
}

export const BAT_REGION = guid('2DC27766-F623-4200-9D64-115E9BFD4A08');
export const METADATA_REGION = guid('8B7CA206-4790-4B9A-B8FE-575F050F886E');
export const LOG_GUID = guid('11223344-5566-4777-8899-aabbccddeeff');

const ITEMS = {
  fileParameters: guid('CAA16737-FA36-4D43-B3B6-33F0AA44E76B'),
  virtualSize: guid('2FA54224-CD1B-4876-B211-5DBED83BF4B8'),
  page83: guid('BECA12AB-B2E6-4523-93EF-C309E000C746'),
  logicalSector: guid('8141BF1D-A96F-4709-BA47-F233A8FAAB5F'),
  physicalSector: guid('CDA348C7-445D-4471-9CC9-E9885251C556'),
  parentLocator: guid('A8D35F2D-B30B-454D-ABF7-D3D84834AB0C'),
} as const;

export const LOG = MIB;
export const METADATA = 2 * MIB;
export const BAT = 3 * MIB;
const FIRST_BLOCK = 4 * MIB;
export const LOG_BYTES: number = MIB;

export interface VhdxFields {
  /** State and position of each payload block: [6, 0] is fully present, the first in the file. */
  readonly blocks?: readonly (readonly [state: number, position: number])[];
  readonly sizeBytes?: number | bigint;
  readonly blockBytes?: number;
  readonly logicalSector?: number;
  readonly hasParent?: boolean;
  readonly leaveAllocated?: boolean;
  /** Changes to both headers, the region table, the metadata table; the CRCs are right afterwards. */
  readonly header?: readonly Patch[];
  readonly header1?: readonly Patch[];
  readonly header2?: readonly Patch[];
  readonly region?: readonly Patch[];
  readonly metadata?: readonly Patch[];
  readonly bat?: readonly Patch[];
  readonly log?: readonly Patch[];
  /** Extra metadata items. */
  readonly parentLocator?: Uint8Array;
  readonly lengthBytes?: number;
}

export function vhdxHeader(sequence: number, ...patches: readonly Patch[]): Uint8Array {
  return withCrc(
    4096,
    4,
    text(0, 'head'),
    le64(8, sequence),
    bytesAt(16, noise(16, 1)),
    bytesAt(32, noise(16, 2)),
    le16(66, 1),
    le32(68, LOG_BYTES),
    le64(72, LOG),
    ...patches,
  );
}

export function vhdxRegionTable(...patches: readonly Patch[]): Uint8Array {
  return withCrc(
    64 * KIB,
    4,
    text(0, 'regi'),
    le32(8, 2),
    bytesAt(16, BAT_REGION),
    le64(32, BAT),
    le32(40, MIB),
    le32(44, 1),
    bytesAt(48, METADATA_REGION),
    le64(64, METADATA),
    le32(72, MIB),
    le32(76, 1),
    ...patches,
  );
}

export interface VhdxImage extends GoodImage {
  /** Where the data of a position stands. */
  position(index: number): number;
}

/** Three blocks of 1 MiB with data at both ends of those that are present. */
export function vhdxImage(fields: VhdxFields = {}): VhdxImage {
  const {
    blocks = [
      [6, 1],
      [0, 0],
      [6, 0],
    ],
    blockBytes = MIB,
    logicalSector = 512,
  } = fields;
  const sizeBytes = Number(fields.sizeBytes ?? blocks.length * blockBytes);
  const position = (index: number) => FIRST_BLOCK + index * blockBytes;
  const flags = (fields.leaveAllocated === true ? 1 : 0) + (fields.hasParent === true ? 2 : 0);
  const items: readonly (readonly [Uint8Array, Patch, number])[] = [
    [
      ITEMS.fileParameters,
      { offsetBytes: 0, bytes: Buffer.concat([le32(0, blockBytes).bytes, le32(0, flags).bytes]) },
      4,
    ],
    [ITEMS.virtualSize, le64(0, fields.sizeBytes ?? sizeBytes), 6],
    [ITEMS.page83, bytesAt(0, noise(16, 5)), 6],
    [ITEMS.logicalSector, le32(0, logicalSector), 6],
    [ITEMS.physicalSector, le32(0, 4096), 6],
    ...(fields.parentLocator === undefined
      ? []
      : [[ITEMS.parentLocator, bytesAt(0, fields.parentLocator), 4] as const]),
  ];
  const metadata: Patch[] = [text(0, 'metadata'), le16(10, items.length)];
  let itemAt = 64 * KIB;
  for (const [index, [id, { bytes }, itemFlags]] of items.entries()) {
    const at = 32 + index * 32;
    metadata.push(
      bytesAt(at, id),
      le32(at + 16, itemAt),
      le32(at + 20, bytes.length),
      le32(at + 24, itemFlags),
    );
    metadata.push(bytesAt(itemAt, bytes));
    itemAt += Math.ceil(bytes.length / 8) * 8;
  }
  const bat: Patch[] = [];
  const data: Patch[] = [];
  const content: Patch[] = [];
  const structures: Structure[] = [
    { name: 'file identifier', offsetBytes: 0, lengthBytes: 512 },
    { name: 'header 1', offsetBytes: 64 * KIB, lengthBytes: 4096 },
    { name: 'header 2', offsetBytes: 128 * KIB, lengthBytes: 4096 },
    { name: 'region table 1', offsetBytes: 192 * KIB, lengthBytes: 64 * KIB },
    { name: 'region table 2', offsetBytes: 256 * KIB, lengthBytes: 64 * KIB },
    { name: 'log', offsetBytes: LOG, lengthBytes: LOG_BYTES },
    { name: 'metadata table', offsetBytes: METADATA, lengthBytes: 64 * KIB },
    { name: 'metadata items', offsetBytes: METADATA + 64 * KIB, lengthBytes: itemAt - 64 * KIB },
    { name: 'BAT', offsetBytes: BAT, lengthBytes: blocks.length * 8 },
  ];
  let stored = 0;
  for (const [block, [state, index]] of blocks.entries()) {
    const at = position(index);
    bat.push(le64(block * 8, state === 6 || state === 7 ? BigInt(at) | BigInt(state) : BigInt(state)));
    if (state !== 6 && state !== 7) continue;
    stored = Math.max(stored, index + 1);
    for (const [within, bytes] of [
      [0, noise(4096, block + 1)],
      [blockBytes - 4096, pattern(4096, block + 1)],
    ] as const) {
      data.push(bytesAt(at + within, bytes));
      content.push(bytesAt(block * blockBytes + within, bytes));
    }
    structures.push({ name: `block ${block}`, offsetBytes: at, lengthBytes: blockBytes });
  }
  const shared = fields.header ?? [];
  const regions = vhdxRegionTable(...(fields.region ?? []));
  const image = imageOf(
    fields.lengthBytes ?? position(stored),
    text(0, 'vhdxfile'),
    bytesAt(8, Buffer.from('corpus', 'utf16le')),
    bytesAt(64 * KIB, vhdxHeader(1, ...shared, ...(fields.header1 ?? []))),
    bytesAt(128 * KIB, vhdxHeader(2, ...shared, ...(fields.header2 ?? []))),
    bytesAt(192 * KIB, regions),
    bytesAt(256 * KIB, regions),
    ...moved(fields.log ?? [], LOG),
    ...moved([...metadata, ...(fields.metadata ?? [])], METADATA),
    ...moved([...bat, ...(fields.bat ?? [])], BAT),
    ...data,
  );
  return { image, content: shownContent(sizeBytes, content), structures, position };
}

function moved(patches: readonly Patch[], byBytes: number): Patch[] {
  return patches.map((patch) => ({ ...patch, offsetBytes: patch.offsetBytes + byBytes }));
}

function shownContent(sizeBytes: number, patches: readonly Patch[]): CorpusImage {
  return imageOf(
    sizeBytes,
    ...patches.map((patch) => ({
      ...patch,
      bytes: patch.bytes.subarray(0, Math.max(0, sizeBytes - patch.offsetBytes)),
    })),
  );
}

export interface LogEntryFields {
  readonly sequence: number | bigint;
  /** Byte offset in the log of the first entry of the sequence. */
  readonly tail: number;
  /** 4 KiB pages to write, by their offset in the file. */
  readonly pages?: readonly (readonly [fileOffset: number | bigint, page: Uint8Array])[];
  /** Ranges to make zero. */
  readonly zeros?: readonly (readonly [fileOffset: number | bigint, lengthBytes: number | bigint])[];
  readonly flushedBytes: number | bigint;
  readonly lastBytes: number | bigint;
  readonly patches?: readonly Patch[];
}

/** One entry of the log, for a header whose log GUID is LOG_GUID. */
export function logEntry(fields: LogEntryFields): Uint8Array {
  const { pages = [], zeros = [] } = fields;
  const count = pages.length + zeros.length;
  const descriptorBytes = Math.ceil((64 + count * 32) / 4096) * 4096;
  const lengthBytes = descriptorBytes + pages.length * 4096;
  const sequence = BigInt(fields.sequence);
  const patches: Patch[] = [
    text(0, 'loge'),
    le32(8, lengthBytes),
    le32(12, fields.tail),
    le64(16, sequence),
    le32(24, count),
    bytesAt(32, LOG_GUID),
    le64(48, fields.flushedBytes),
    le64(56, fields.lastBytes),
  ];
  let at = 64;
  for (const [index, [fileOffset, page]] of pages.entries()) {
    patches.push(
      text(at, 'desc'),
      bytesAt(at + 4, page.subarray(4092)),
      bytesAt(at + 8, page.subarray(0, 8)),
    );
    patches.push(le64(at + 16, fileOffset), le64(at + 24, sequence));
    const sector = descriptorBytes + index * 4096;
    patches.push(
      text(sector, 'data'),
      le32(sector + 4, Number(sequence >> 32n)),
      bytesAt(sector + 8, page.subarray(8, 4092)),
      le32(sector + 4092, Number(sequence & 0xffffffffn)),
    );
    at += 32;
  }
  for (const [fileOffset, length] of zeros) {
    patches.push(text(at, 'zero'), le64(at + 8, length), le64(at + 16, fileOffset), le64(at + 24, sequence));
    at += 32;
  }
  return withCrc(lengthBytes, 4, ...patches, ...(fields.patches ?? []));
}
