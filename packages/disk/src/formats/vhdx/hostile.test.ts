import assert from 'node:assert/strict';
import { test } from 'node:test';
import { viewOf } from '../../bytes/fields.ts';
import { MIB, TIB } from '../../bytes/numbers.ts';
import type { ImageError, ImageErrorCode } from '../../errors.ts';
import { openBytes } from '../images.testkit.ts';
import { vhdx } from './format.ts';
import { guidBytes } from './guids.ts';
import {
  BLOCKS,
  HEADERS,
  ITEMS_OFFSET,
  METADATA,
  REGION_TABLES,
  seal,
  setEntry,
  TABLE,
  type VhdxFields,
  vhdxFile,
} from './vhdx.testkit.ts';

type Change = (view: DataView, file: Uint8Array) => void;

/** Changes both headers, which are sealed again after it. */
const inHeaders =
  (change: (view: DataView, at: number) => void): Change =>
  (view) =>
    HEADERS.forEach((at) => {
      change(view, at);
    });
/** Changes both copies of the region table; the entries stand at 16 (table) and 48 (metadata). */
const inRegions =
  (change: (view: DataView, at: number) => void): Change =>
  (view) =>
    REGION_TABLES.forEach((at) => {
      change(view, at);
    });
/** Changes the entry of a metadata item, or the item. */
const inEntry =
  (item: number, change: (view: DataView, at: number) => void): Change =>
  (view) =>
    change(view, METADATA + 32 * (item + 1));
const inItem =
  (item: number, change: (view: DataView, at: number) => void): Change =>
  (view) =>
    change(view, ITEMS_OFFSET + 64 * item);
const entry =
  (index: number, state: number, place: number): Change =>
  (_, file) =>
    setEntry(file, index, state, place);

const unknownGuid = guidBytes('12345678-1234-4234-8234-123456789abc');
const locator = [
  ['parent_linkage', '{83ed9d31-6e5c-4b7c-b1d4-36ab5e0a1dff}'],
  ['relative_path', '.\\parent.vhdx'],
] as const;
const child: VhdxFields = { locator };

const cases: readonly (readonly [what: string, code: ImageErrorCode, change: Change, fields?: VhdxFields])[] =
  [
    ['no signature', 'IMAGE_MALFORMED', (_, file) => file.fill(0x20, 0, 8)],
    ['headers without their mark', 'IMAGE_MALFORMED', inHeaders((view, at) => view.setUint32(at, 0))],
    ['version 2', 'IMAGE_UNSUPPORTED', inHeaders((view, at) => view.setUint16(at + 66, 2, true))],
    ['version 0', 'IMAGE_UNSUPPORTED', inHeaders((view, at) => view.setUint16(at + 66, 0, true))],
    ['log version 1', 'IMAGE_UNSUPPORTED', inHeaders((view, at) => view.setUint16(at + 64, 1, true))],
    [
      'two headers with one sequence number that differ',
      'IMAGE_MALFORMED',
      (view) => {
        for (const at of HEADERS) view.setBigUint64(at + 8, 5n, true);
        view.setUint8(HEADERS[1] + 16, 0x99);
      },
    ],
    [
      'a log length of half a MiB',
      'IMAGE_MALFORMED',
      inHeaders((view, at) => view.setUint32(at + 68, MIB / 2, true)),
    ],
    [
      'a log in the headers',
      'IMAGE_MALFORMED',
      inHeaders((view, at) => view.setBigUint64(at + 72, 0n, true)),
    ],
    [
      'an unaligned log',
      'IMAGE_MALFORMED',
      inHeaders((view, at) => view.setBigUint64(at + 72, 1048577n, true)),
    ],
    ['a log at 2^63', 'IMAGE_LIMIT', inHeaders((view, at) => view.setBigUint64(at + 72, 1n << 63n, true))],
    [
      'a log over a region',
      'IMAGE_MALFORMED',
      inHeaders((view, at) => view.setUint32(at + 68, 2 * MIB, true)),
    ],
    ['region tables without their mark', 'IMAGE_MALFORMED', inRegions((view, at) => view.setUint32(at, 0))],
    ['4000 regions', 'IMAGE_MALFORMED', inRegions((view, at) => view.setUint32(at + 8, 4000, true))],
    [
      '2^32 - 1 regions',
      'IMAGE_MALFORMED',
      inRegions((view, at) => view.setUint32(at + 8, 0xffffffff, true)),
    ],
    ['no regions', 'IMAGE_MALFORMED', inRegions((view, at) => view.setUint32(at + 8, 0, true))],
    [
      'a required region that is not known',
      'IMAGE_UNSUPPORTED',
      (view, file) => {
        for (const at of REGION_TABLES) {
          view.setUint32(at + 8, 3, true);
          file.set(unknownGuid, at + 80);
          view.setBigUint64(at + 96, BigInt(20 * MIB), true);
          view.setUint32(at + 104, MIB, true);
          view.setUint32(at + 108, 1, true);
        }
      },
    ],
    [
      'the same region twice',
      'IMAGE_MALFORMED',
      (view, file) => {
        for (const at of REGION_TABLES) {
          view.setUint32(at + 8, 3, true);
          file.set(file.slice(at + 16, at + 48), at + 80);
          view.setBigUint64(at + 96, BigInt(20 * MIB), true);
        }
      },
    ],
    [
      'an unaligned region',
      'IMAGE_MALFORMED',
      inRegions((view, at) => view.setBigUint64(at + 32, BigInt(TABLE + 512), true)),
    ],
    [
      'a region in the headers',
      'IMAGE_MALFORMED',
      inRegions((view, at) => view.setBigUint64(at + 32, 0n, true)),
    ],
    ['an empty region', 'IMAGE_MALFORMED', inRegions((view, at) => view.setUint32(at + 40, 0, true))],
    [
      'a region of half a MiB',
      'IMAGE_MALFORMED',
      inRegions((view, at) => view.setUint32(at + 40, MIB / 2, true)),
    ],
    [
      'regions over each other',
      'IMAGE_MALFORMED',
      inRegions((view, at) => view.setBigUint64(at + 32, BigInt(METADATA), true)),
    ],
    [
      'a table at 2^50',
      'IMAGE_TRUNCATED',
      inRegions((view, at) => view.setBigUint64(at + 32, 1n << 50n, true)),
    ],
    ['a table at 2^63', 'IMAGE_LIMIT', inRegions((view, at) => view.setBigUint64(at + 32, 1n << 63n, true))],
    [
      'a table of 4 GiB',
      'IMAGE_TRUNCATED',
      inRegions((view, at) => view.setUint32(at + 40, 0xfff00000, true)),
    ],
    [
      'metadata at 2^50',
      'IMAGE_TRUNCATED',
      inRegions((view, at) => view.setBigUint64(at + 64, 1n << 50n, true)),
    ],
    ['metadata without its mark', 'IMAGE_MALFORMED', (view) => view.setUint32(METADATA, 0)],
    ['2048 metadata items', 'IMAGE_MALFORMED', (view) => view.setUint16(METADATA + 10, 2048, true)],
    ['no metadata items', 'IMAGE_MALFORMED', (view) => view.setUint16(METADATA + 10, 0, true)],
    [
      'a required item that is not known',
      'IMAGE_UNSUPPORTED',
      inEntry(2, (view, at) => view.setUint32(at, 1)),
    ],
    [
      'a size that only a user wrote',
      'IMAGE_UNSUPPORTED',
      inEntry(1, (view, at) => view.setUint32(at + 24, 5, true)),
    ],
    [
      'an item in the table',
      'IMAGE_MALFORMED',
      inEntry(0, (view, at) => view.setUint32(at + 16, 65535, true)),
    ],
    [
      'an item behind the region',
      'IMAGE_MALFORMED',
      inEntry(0, (view, at) => view.setUint32(at + 16, MIB - 4, true)),
    ],
    [
      'an item at 2^32 - 1',
      'IMAGE_MALFORMED',
      inEntry(0, (view, at) => view.setUint32(at + 16, 0xffffffff, true)),
    ],
    ['a size of 4 bytes', 'IMAGE_MALFORMED', inEntry(1, (view, at) => view.setUint32(at + 20, 4, true))],
    [
      'an item twice',
      'IMAGE_MALFORMED',
      (_, file) => file.set(file.slice(METADATA + 32, METADATA + 64), METADATA + 96),
    ],
    ['block size 0', 'IMAGE_MALFORMED', inItem(0, (view, at) => view.setUint32(at, 0, true))],
    ['block size 512 KiB', 'IMAGE_MALFORMED', inItem(0, (view, at) => view.setUint32(at, MIB / 2, true))],
    ['block size 3 MiB', 'IMAGE_MALFORMED', inItem(0, (view, at) => view.setUint32(at, 3 * MIB, true))],
    ['block size 512 MiB', 'IMAGE_LIMIT', inItem(0, (view, at) => view.setUint32(at, 512 * MIB, true))],
    ['block size 2^31', 'IMAGE_LIMIT', inItem(0, (view, at) => view.setUint32(at, 2 ** 31, true))],
    ['size 0', 'IMAGE_MALFORMED', inItem(1, (view, at) => view.setBigUint64(at, 0n, true))],
    ['size 65 TiB', 'IMAGE_LIMIT', inItem(1, (view, at) => view.setBigUint64(at, BigInt(65 * TIB), true))],
    ['size 2^63', 'IMAGE_LIMIT', inItem(1, (view, at) => view.setBigUint64(at, 1n << 63n, true))],
    [
      'a size that is no whole number of sectors',
      'IMAGE_MALFORMED',
      inItem(1, (view, at) => view.setBigUint64(at, 1000n, true)),
    ],
    [
      'a size for which the table is too small',
      'IMAGE_MALFORMED',
      inItem(1, (view, at) => view.setBigUint64(at, BigInt(TIB), true)),
    ],
    [
      'logical sectors of 1024 bytes',
      'IMAGE_MALFORMED',
      inItem(3, (view, at) => view.setUint32(at, 1024, true)),
    ],
    ['logical sectors of 0 bytes', 'IMAGE_MALFORMED', inItem(3, (view, at) => view.setUint32(at, 0, true))],
    [
      'physical sectors of 2048 bytes',
      'IMAGE_MALFORMED',
      inItem(4, (view, at) => view.setUint32(at, 2048, true)),
    ],
    ['a block in state 4', 'IMAGE_MALFORMED', entry(1, 4, 0)],
    ['a block in state 7, without a parent', 'IMAGE_MALFORMED', entry(1, 7, BLOCKS + 2 * MIB)],
    ['a block at 0', 'IMAGE_MALFORMED', entry(1, 6, 0)],
    ['a block in the log', 'IMAGE_MALFORMED', entry(1, 6, MIB)],
    ['a block in the metadata', 'IMAGE_MALFORMED', entry(1, 6, METADATA)],
    ['a block in the table', 'IMAGE_MALFORMED', entry(1, 6, TABLE)],
    ['a block at 2^50', 'IMAGE_TRUNCATED', entry(1, 6, 2 ** 50)],
    [
      'a block at 2^64 - 1 MiB',
      'IMAGE_TRUNCATED',
      (view) => view.setBigUint64(TABLE + 8, 0xfffffffffff00006n, true),
    ],
    ['a block at the end of the file', 'IMAGE_TRUNCATED', entry(1, 6, BLOCKS + 2 * MIB)],
    ['two blocks at one place', 'IMAGE_MALFORMED', entry(1, 6, BLOCKS)],
    [
      'every block at one place',
      'IMAGE_MALFORMED',
      (_, file) => {
        for (let block = 0; block < 4; block++) setEntry(file, block, 6, BLOCKS);
      },
    ],
    [
      'blocks over each other',
      'IMAGE_MALFORMED',
      entry(1, 6, BLOCKS + MIB),
      {
        blockSize: 2 * MIB,
        table: [{ at: 0 }, { at: 1 }],
      },
    ],
    ['a differencing disk', 'IMAGE_REFERENCE', () => {}, child],
    [
      'a parent locator of another type',
      'IMAGE_UNSUPPORTED',
      inItem(5, (view, at) => view.setUint32(at, 1)),
      child,
    ],
    [
      '65535 entries of a parent locator',
      'IMAGE_LIMIT',
      inItem(5, (view, at) => view.setUint16(at + 18, 65535, true)),
      child,
    ],
    [
      'more entries than the parent locator holds',
      'IMAGE_MALFORMED',
      inItem(5, (view, at) => view.setUint16(at + 18, 60, true)),
      child,
    ],
    [
      'a text outside of the parent locator',
      'IMAGE_MALFORMED',
      inItem(5, (view, at) => view.setUint32(at + 20, 0xfffffff0, true)),
      child,
    ],
    [
      'a parent locator of 10 bytes',
      'IMAGE_MALFORMED',
      inEntry(5, (view, at) => view.setUint32(at + 20, 10, true)),
      child,
    ],
    [
      'a parent locator of 512 KiB',
      'IMAGE_LIMIT',
      inEntry(5, (view, at) => view.setUint32(at + 20, MIB / 2, true)),
      child,
    ],
    [
      'a parent without a locator',
      'IMAGE_MALFORMED',
      inItem(0, (view, at) => view.setUint32(at + 4, 2, true)),
    ],
    ['a locator without a linkage', 'IMAGE_MALFORMED', () => {}, { locator: locator.slice(1) }],
    ['a locator without a name', 'IMAGE_MALFORMED', () => {}, { locator: locator.slice(0, 1) }],
    ['a partial block whose chunk has no bitmap', 'IMAGE_MALFORMED', entry(0, 7, BLOCKS), withBitmap(0)],
    ['a bitmap beyond the end', 'IMAGE_TRUNCATED', entry(4096, 6, 2 ** 40), withBitmap(6)],
    ['a bitmap over a block', 'IMAGE_MALFORMED', entry(4096, 6, BLOCKS), withBitmap(6)],
    ['a bitmap in state 7', 'IMAGE_MALFORMED', entry(4096, 7, BLOCKS + MIB), withBitmap(6)],
  ];

/** A differencing disk of one chunk, whose bitmap has this state. */
function withBitmap(state: number): VhdxFields {
  const table = [{ at: 0 }, ...Array.from({ length: 4095 }, () => 0), state === 0 ? 0 : { at: 1, state }];
  return { ...child, diskSize: 4 * MIB, table };
}

for (const [what, code, change, fields] of cases) {
  test(`${what} is refused with ${code}`, async () => {
    const file = vhdxFile(fields);
    change(viewOf(file), file);
    await assert.rejects(openBytes(vhdx, seal(file)), (error: ImageError) => {
      assert.equal(error.code, code, error.message);
      assert.ok(error.structure.startsWith('VHDX '));
      return true;
    });
  });
}

test('wrong checksums are refused: of both headers, of both region tables', async () => {
  for (const places of [HEADERS, REGION_TABLES]) {
    const file = vhdxFile();
    for (const at of places) file[at + 100] = 1;
    await assert.rejects(openBytes(vhdx, file), { code: 'IMAGE_MALFORMED' });
  }
});

test('a file that is cut anywhere is refused, never read short', async () => {
  const file = vhdxFile({ table: [{ at: 0 }, { at: 1 }] });
  const lengths = [0, 7, 8, 519, 520, ...HEADERS, HEADERS[0] + 4095, HEADERS[1] + 4095, HEADERS[1] + 4096];
  lengths.push(...REGION_TABLES, REGION_TABLES[1] + 65535, REGION_TABLES[1] + 65536, MIB, 2 * MIB - 1);
  lengths.push(
    METADATA,
    METADATA + 65536,
    ITEMS_OFFSET + 8,
    TABLE,
    TABLE + 8,
    TABLE + 16,
    BLOCKS - 1,
    BLOCKS,
  );
  lengths.push(BLOCKS + 1, BLOCKS + MIB - 1, BLOCKS + MIB, file.length - 1);
  for (const length of lengths) {
    const what = `${length} bytes`;
    await assert.rejects(openBytes(vhdx, file.slice(0, length)), { code: 'IMAGE_TRUNCATED' }, what);
  }
});

test('any file with noise in its structures is refused or read, with no other failure', async () => {
  let state = 54321;
  const noise = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state;
  };
  const files = [vhdxFile({ ...child, ...withBitmap(6) }), vhdxFile()];
  const places: readonly (readonly [at: number, length: number])[] = [
    [HEADERS[0], 80],
    [HEADERS[1], 80],
    [REGION_TABLES[0], 80],
    [METADATA, 256],
    [ITEMS_OFFSET, 480],
    [TABLE, 64],
    [TABLE + 4096 * 8, 8],
  ];
  for (let run = 0; run < 1000; run++) {
    const [at, length] = places[run % places.length]!;
    const file = files[run % 2]!;
    const noisy = Array.from({ length: 3 }, () => at + (noise() % length));
    const before = noisy.map((place) => file[place]!);
    for (const place of noisy) file[place] = noise() >>> 24;
    await openBytes(vhdx, seal(file)).then(
      (disk) => disk.read(0, new Uint8Array(Math.min(disk.virtualSizeBytes, MIB))),
      (error) => assert.equal(error.name, 'ImageError', String(error)),
    );
    for (const [i, place] of noisy.entries().toArray().reverse()) file[place] = before[i]!;
  }
});
