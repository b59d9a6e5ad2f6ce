import {
  type Expected,
  LIMIT,
  MALFORMED,
  REFERENCE,
  refusedOrReads,
  refusedWith,
  TRUNCATED,
  UNSUPPORTED,
} from './case.ts';
import { bytesAt, le16, le32, le64, noise, u8 } from './fields.ts';
import { type CorpusImage, type Patch, resized } from './image.ts';
import { BAT, BAT_REGION, guid, LOG_GUID, METADATA_REGION, type VhdxFields } from './vhdx-image.ts';

const KIB = 1024;

const MIB = 2 ** 20;

type Row = readonly [what: string, fields: VhdxFields, expected: Expected];

export function fieldRows(same: Expected, content: CorpusImage): Row[] {
  return [
    ['header version 2', { header: [le16(66, 2)] }, UNSUPPORTED],
    ['header version 0', { header: [le16(66, 0)] }, UNSUPPORTED],
    [
      'log version 1 of an empty log',
      { header: [le16(64, 1)] },
      refusedOrReads(content, 'IMAGE_UNSUPPORTED'),
    ],
    ['log version 1', { header: [le16(64, 1), bytesAt(48, LOG_GUID)] }, UNSUPPORTED],
    [
      'a log of 0xffffffff bytes',
      { header: [le32(68, 0xffffffff), bytesAt(48, LOG_GUID)] },
      refusedWith('IMAGE_MALFORMED', 'IMAGE_TRUNCATED', 'IMAGE_LIMIT'),
    ],
    [
      'a log at 2^63',
      { header: [le64(72, 2n ** 63n), bytesAt(48, LOG_GUID)] },
      refusedWith('IMAGE_LIMIT', 'IMAGE_TRUNCATED', 'IMAGE_MALFORMED'),
    ],
    ['a log in the headers', { header: [le64(72, 64 * KIB), bytesAt(48, LOG_GUID)] }, MALFORMED],
    ['a log GUID and an empty log', { header: [bytesAt(48, LOG_GUID)] }, same],
    ['no header signature', { header: [u8(0, 0)] }, MALFORMED],
    ['one header damaged', { header2: [u8(0, 0)] }, same],
    ['the other header damaged', { header1: [u8(0, 0)] }, same],
    ['equal sequence numbers, equal headers', { header: [le64(8, 7)] }, same],
    [
      'equal sequence numbers, different headers',
      { header: [le64(8, 7)], header2: [bytesAt(16, noise(16, 8))] },
      refusedOrReads(content, 'IMAGE_MALFORMED'),
    ],
    ['4000 regions', { region: [le32(8, 4000)] }, refusedWith('IMAGE_MALFORMED', 'IMAGE_LIMIT')],
    ['0 regions', { region: [le32(8, 0)] }, MALFORMED],
    ['0xffffffff regions', { region: [le32(8, 0xffffffff)] }, refusedWith('IMAGE_MALFORMED', 'IMAGE_LIMIT')],
    ['no region signature', { region: [u8(0, 0)] }, MALFORMED],
    ['a region unaligned', { region: [le64(32, BAT + 512)] }, MALFORMED],
    ['a region below 1 MiB', { region: [le64(32, 0)] }, MALFORMED],
    ['a region of odd length', { region: [le32(40, MIB + 1)] }, MALFORMED],
    ['a region of 0 bytes', { region: [le32(40, 0)] }, MALFORMED],
    ['regions that overlap', { region: [le64(32, 2 * MIB)] }, MALFORMED],
    ['the BAT over the log', { region: [le64(32, MIB)] }, MALFORMED],
    ['the BAT at 2^50', { region: [le64(32, 2n ** 50n)] }, TRUNCATED],
    ['the BAT at 2^63', { region: [le64(32, 2n ** 63n)] }, refusedWith('IMAGE_LIMIT', 'IMAGE_TRUNCATED')],
    ['the metadata past the end', { region: [le64(64, 2n ** 40n)] }, TRUNCATED],
    ['no BAT region', { region: [bytesAt(16, noise(16)), le32(44, 0)] }, MALFORMED],
    ['no metadata region', { region: [bytesAt(48, noise(16)), le32(76, 0)] }, MALFORMED],
    ['two BAT regions', { region: [bytesAt(48, BAT_REGION)] }, MALFORMED],
    ['two metadata regions', { region: [bytesAt(16, METADATA_REGION)] }, MALFORMED],
    [
      'an unknown region that is required',
      { region: [le32(8, 3), bytesAt(80, noise(16)), le64(96, 4 * MIB), le32(104, MIB), le32(108, 1)] },
      UNSUPPORTED,
    ],
    ['no metadata signature', { metadata: [u8(0, 0)] }, MALFORMED],
    ['4000 metadata items', { metadata: [le16(10, 4000)] }, refusedWith('IMAGE_MALFORMED', 'IMAGE_LIMIT')],
    ['0 metadata items', { metadata: [le16(10, 0)] }, MALFORMED],
    ['an item in the metadata table', { metadata: [le32(48, 32)] }, MALFORMED],
    ['an item past the region', { metadata: [le32(48, 0xfffffff8)] }, MALFORMED],
    ['an item of 0xffffffff bytes', { metadata: [le32(52, 0xffffffff)] }, MALFORMED],
    ['an item of 4 bytes that has 8', { metadata: [le32(52, 4)] }, MALFORMED],
    ['an item twice', { metadata: [bytesAt(64, guid('CAA16737-FA36-4D43-B3B6-33F0AA44E76B'))] }, MALFORMED],
    [
      'an unknown item that is required',
      { metadata: [le16(10, 6), bytesAt(192, noise(16)), le32(208, 65600), le32(212, 8), le32(216, 4)] },
      UNSUPPORTED,
    ],
    ['block size 0', { metadata: [le32(64 * KIB, 0)] }, MALFORMED],
    ['block size 3 MiB', { metadata: [le32(64 * KIB, 3 * MIB)] }, MALFORMED],
    ['block size 512 KiB', { metadata: [le32(64 * KIB, MIB / 2)] }, MALFORMED],
    [
      'block size 512 MiB',
      { metadata: [le32(64 * KIB, 512 * MIB)] },
      refusedWith('IMAGE_MALFORMED', 'IMAGE_LIMIT'),
    ],
    [
      'unknown flags of the file parameters',
      { metadata: [le32(64 * KIB + 4, 4)] },
      refusedOrReads(content, 'IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED'),
    ],
    ['logical sectors of 1024 bytes', { logicalSector: 1024 }, MALFORMED],
    ['logical sectors of 0 bytes', { logicalSector: 0 }, MALFORMED],
    ['size 0', { metadata: [le64(64 * KIB + 8, 0)] }, MALFORMED],
    ['size 65 TiB', { metadata: [le64(64 * KIB + 8, 65n * 2n ** 40n)] }, LIMIT],
    ['size 2^63', { metadata: [le64(64 * KIB + 8, 2n ** 63n)] }, LIMIT],
    ['size 2^64 - 1', { metadata: [le64(64 * KIB + 8, 2n ** 64n - 1n)] }, LIMIT],
    [
      'size larger than the BAT',
      { metadata: [le64(64 * KIB + 8, 2n ** 45n)] },
      refusedWith('IMAGE_MALFORMED', 'IMAGE_TRUNCATED'),
    ],
    [
      'size not of whole sectors',
      { metadata: [le64(64 * KIB + 8, 3 * MIB - 100)] },
      refusedOrReads(resized(content, 3 * MIB - 100), 'IMAGE_MALFORMED'),
    ],
    ['block state 4', { bat: [le64(8, 4)] }, MALFORMED],
    ['block state 7 without a parent', { bat: [le64(8, BigInt(5 * MIB) | 7n)] }, MALFORMED],
    [
      'reserved bits of a BAT entry',
      { bat: [le64(0, BigInt(5 * MIB) | 6n | (1n << 10n))] },
      refusedOrReads(content, 'IMAGE_MALFORMED'),
    ],
    ['block at 0', { bat: [le64(0, 6)] }, MALFORMED],
    ['block in the log', { bat: [le64(0, BigInt(MIB) | 6n)] }, MALFORMED],
    ['block in the metadata', { bat: [le64(0, BigInt(2 * MIB) | 6n)] }, MALFORMED],
    ['block in the BAT', { bat: [le64(0, BigInt(3 * MIB) | 6n)] }, MALFORMED],
    ['block at 2^50', { bat: [le64(0, (2n ** 50n) | 6n)] }, TRUNCATED],
    ['block at 2^63', { bat: [le64(0, (2n ** 63n) | 6n)] }, refusedWith('IMAGE_LIMIT', 'IMAGE_TRUNCATED')],
    ['block at the end', { bat: [le64(0, BigInt(6 * MIB) | 6n)] }, TRUNCATED],
    ['two blocks at one place', { bat: [le64(0, BigInt(4 * MIB) | 6n)] }, MALFORMED],
    ['blocks unmapped and zero', { bat: [le64(8, 3)] }, same],
    [
      'a block unmapped as drafts of the format had it',
      { bat: [le64(8, 5)] },
      refusedOrReads(content, 'IMAGE_MALFORMED'),
    ],
    ['a parent that nothing names', { hasParent: true }, refusedWith('IMAGE_REFERENCE', 'IMAGE_MALFORMED')],
    [
      'a parent',
      {
        hasParent: true,
        parentLocator: parentLocator([
          ['relative_path', '..\\secret.vhdx'],
          ['parent_linkage', '{00000000-0000-0000-0000-000000000001}'],
        ]),
      },
      REFERENCE,
    ],
    [
      'a parent at an absolute path',
      {
        hasParent: true,
        parentLocator: parentLocator([
          ['absolute_win32_path', '\\\\?\\C:\\secret.vhdx'],
          ['parent_linkage', '{00000000-0000-0000-0000-000000000001}'],
        ]),
      },
      REFERENCE,
    ],
    [
      'a parent locator of 0xffff entries',
      { hasParent: true, parentLocator: bytesAfter(parentLocator([]), le16(18, 0xffff)) },
      refusedWith('IMAGE_MALFORMED', 'IMAGE_LIMIT'),
    ],
    [
      'a parent locator whose key lies outside',
      {
        hasParent: true,
        parentLocator: bytesAfter(parentLocator([['relative_path', 'x']]), le32(20, 0xfffffff0)),
      },
      MALFORMED,
    ],
    [
      'a parent locator of another type',
      {
        hasParent: true,
        parentLocator: bytesAfter(parentLocator([['relative_path', 'x']]), bytesAt(0, noise(16))),
      },
      refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED'),
    ],
  ];
}

export function bytesAfter(bytes: Uint8Array, ...patches: readonly Patch[]): Uint8Array {
  const copy = Uint8Array.from(bytes);
  for (const patch of patches) copy.set(patch.bytes, patch.offsetBytes);
  return copy;
}

function parentLocator(entries: readonly (readonly [key: string, value: string])[]): Uint8Array {
  const parts = [
    bytesAfter(
      new Uint8Array(20),
      bytesAt(0, guid('B04AEFB7-D19E-4A81-B789-25B8E9445913')),
      le16(18, entries.length),
    ),
  ];
  const table = Buffer.alloc(entries.length * 12);
  const texts: Uint8Array[] = [];
  let at = 20 + table.length;
  for (const [index, words] of entries.entries()) {
    for (const [which, word] of words.entries()) {
      const bytes = Buffer.from(word, 'utf16le');
      table.writeUInt32LE(at, index * 12 + which * 4);
      table.writeUInt16LE(bytes.length, index * 12 + 8 + which * 2);
      texts.push(bytes);
      at += bytes.length;
    }
  }
  return Buffer.concat([...parts, table, ...texts]);
}
