import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { GIB, KIB, MIB, TIB } from '../../bytes/numbers.ts';
import { convert } from '../../convert/convert.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import { fileSink } from '../../io/node-file.ts';
import { viewOfLayout } from '../../view/view.ts';
import {
  assertSameBytes,
  diskBytes,
  layoutBytes,
  openBytes,
  patternDisk,
  planLayout,
  type Runs,
  sourceBytes,
  testFolder,
  tool,
  writeLayoutFile,
  writeRaw,
} from '../images.testkit.ts';
import { vhdx } from './format.ts';
import { assertHyperVOpens } from './strict.testkit.ts';

type Options = Readonly<Record<string, string>>;
const dynamic: Options = {};
const fixed: Options = { subformat: 'fixed' };
const larger: Options = { block_size: String(4 * MIB) };

const golden: readonly (readonly [
  what: string,
  sizeBytes: number,
  runs: Runs,
  options: readonly Options[],
])[] = [
  ['a disk without data', 3 * MIB, [], [dynamic, fixed, larger]],
  ['one sector', 512, [[0, 512]], [dynamic, fixed]],
  [
    'data across blocks and in the last sector',
    5 * MIB + 512,
    [
      [700 * KIB, MIB],
      [4 * MIB, 100],
      [5 * MIB, 512],
    ],
    [dynamic, fixed, larger, { ...fixed, ...larger }],
  ],
  ['a disk that is full', 4 * MIB, [[0, 4 * MIB]], [dynamic, fixed, larger]],
];

test('qemu-img reads our files as the disk and finds no error in them', async (t) => {
  const folder = await testFolder(t);
  const raw = join(folder, 'disk.raw');
  const path = join(folder, 'disk.vhdx');
  for (const [what, sizeBytes, runs, choices] of golden) {
    await writeRaw(raw, sizeBytes, runs);
    for (const options of choices) {
      const disk = patternDisk(sizeBytes, runs);
      await writeLayoutFile(path, await planLayout(vhdx, disk, options), disk);
      const compared = await tool('qemu-img', 'compare', '-f', 'vhdx', '-F', 'raw', path, raw);
      assert.equal(compared, 'Images are identical.\n', what);
      await tool('qemu-img', 'check', '-f', 'vhdx', path);
    }
  }
});

test('qemu-img finds every byte of large sparse disks, in entries of many chunks', async (t) => {
  const folder = await testFolder(t);
  const path = join(folder, 'disk.vhdx');
  const part = join(folder, 'part.raw');
  const cases: readonly (readonly [sizeBytes: number, runs: Runs, options: Options])[] = [
    [
      20 * GIB + 4096,
      [
        [0, 4096],
        [12 * GIB - 2048, 4096],
        [20 * GIB, 4096],
      ],
      dynamic,
    ],
    [
      20 * GIB + 4096,
      [
        [0, 4096],
        [12 * GIB - 2048, 4096],
        [20 * GIB, 4096],
      ],
      larger,
    ],
    [
      3 * TIB + 512,
      [
        [TIB - 512, 1024],
        [3 * TIB, 512],
      ],
      dynamic,
    ],
  ];
  for (const [sizeBytes, runs, options] of cases) {
    const disk = patternDisk(sizeBytes, runs);
    await writeLayoutFile(path, await planLayout(vhdx, disk, options), disk);
    await tool('qemu-img', 'check', '-f', 'vhdx', path);
    for (const [offsetBytes, lengthBytes] of runs) {
      const first = Math.max(0, offsetBytes / 512 - 8);
      const end = Math.min(sizeBytes, offsetBytes + lengthBytes + 4096) / 512;
      const range = ['bs=512', `skip=${first}`, `count=${end}`];
      await tool('qemu-img', 'dd', '-f', 'vhdx', '-O', 'raw', ...range, `if=${path}`, `of=${part}`);
      const expected = new Uint8Array((end - first) * 512);
      await disk.read(first * 512, expected);
      assertSameBytes(await readFile(part), expected, `${sizeBytes} at ${offsetBytes}`);
    }
  }
});

test('our files hold to what Hyper-V and VirtualBox ask of an image', async () => {
  for (const [, sizeBytes, runs, choices] of golden) {
    for (const options of [...choices, { logical_sector_size: '4096' }]) {
      const disk = patternDisk(sizeBytes, runs);
      assertHyperVOpens(await layoutBytes(await planLayout(vhdx, disk, options), disk), options);
    }
  }
});

test('our reader sees the disk again, and our check finds nothing', async () => {
  for (const [what, sizeBytes, runs, choices] of golden) {
    for (const options of choices) {
      const disk = patternDisk(sizeBytes, runs);
      const view = viewOfLayout(await planLayout(vhdx, disk, options), disk);
      const again = await openBytes(vhdx, await sourceBytes(view));
      assertSameBytes(await diskBytes(again), await diskBytes(disk), what);
      assert.deepEqual(again.warnings, []);
      assert.equal(again.details.type, options.subformat ?? 'dynamic');
      const report = await vhdx.check?.(view, { references: denyReferences });
      assert.deepEqual(report?.findings, []);
    }
  }
});

test('sectors of 4096 bytes are written and read', async () => {
  const disk = patternDisk(9 * MIB + 512, [[MIB, 3 * MIB + 10]]);
  const options = { logical_sector_size: '4096' };
  const again = await openBytes(vhdx, await layoutBytes(await planLayout(vhdx, disk, options), disk));
  assert.equal(again.details.logicalSectorSizeBytes, 4096);
  assert.equal(again.virtualSizeBytes, 9 * MIB + 4096);
  assertSameBytes((await diskBytes(again)).subarray(0, 9 * MIB + 512), await diskBytes(disk));
});

test('any range of a file is the slice of the whole, and a second plan gives the same bytes', async () => {
  const disk = patternDisk(6 * MIB, [
    [MIB + 5000, 20000],
    [3 * MIB, 2 * MIB + 7],
  ]);
  for (const options of [dynamic, fixed]) {
    const whole = await layoutBytes(await planLayout(vhdx, disk, options), disk);
    const view = viewOfLayout(await planLayout(vhdx, disk, options), disk);
    assertSameBytes(await sourceBytes(view), whole);
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length), fc.nat(100_000), async (from, length) => {
        const part = new Uint8Array(Math.min(length, whole.length - from)).fill(0x77);
        await view.read(from, part);
        assertSameBytes(part, whole.subarray(from, from + part.length));
      }),
      { numRuns: 100 },
    );
  }
});

test('blocks stand where the placement says, for any map', async () => {
  const blocks = fc.uniqueArray(fc.nat(39), { maxLength: 40 });
  const options = fc.constantFrom(dynamic, fixed, larger);
  await fc.assert(
    fc.asyncProperty(blocks, options, fc.nat(MIB - 1), async (used, choice, tail) => {
      const sizeBytes = 40 * MIB - Math.floor(tail / 512) * 512;
      const runs = used.toSorted((a, b) => a - b).map((block) => [block * MIB, 512] as const);
      const disk = patternDisk(sizeBytes, runs);
      const layout = await planLayout(vhdx, disk, choice);
      const request = { options: choice, seed: new Uint8Array(32), baseName: 'disk' };
      const placement = await vhdx.placement?.(sizeBytes, request);
      assert.ok(
        placement !== undefined && (placement.kind === 'identity' || placement.groupBlocks === undefined),
      );
      let at = 0;
      let rank = 0;
      let lastBlock = -1;
      for (const piece of layout.pieces(0, layout.lengthBytes)) {
        const length = piece.kind === 'bytes' ? piece.bytes.length : piece.lengthBytes;
        for (let within = 0; piece.kind === 'disk' && within < length; within += placement.blockBytes) {
          const block = Math.floor((piece.offsetBytes + within) / placement.blockBytes);
          if (block !== lastBlock && lastBlock !== -1) rank++;
          lastBlock = block;
          const place: number =
            placement.kind === 'identity'
              ? placement.startBytes + block * placement.blockBytes
              : placement.startBytes + rank * placement.strideBytes;
          assert.equal(at + within, place, `block ${block}`);
        }
        at += length;
      }
    }),
    { numRuns: 60 },
  );
});

test('a conversion in one pass gives the bytes of the layout', async (t) => {
  const folder = await testFolder(t);
  const disk = patternDisk(9 * MIB + 512, [
    [MIB + 70_000, 20_000],
    [3 * MIB, 2 * MIB + 7],
    [9 * MIB, 512],
  ]);
  const seed = new Uint8Array(32);
  for (const options of [dynamic, fixed, larger]) {
    const path = join(folder, 'disk.vhdx');
    await convert(disk, await fileSink(path), { format: 'vhdx', options, seed });
    const planned = join(folder, 'planned.vhdx');
    await writeLayoutFile(planned, await planLayout(vhdx, disk, options, seed), disk);
    await tool('cmp', path, planned);
  }
});

test('another seed changes the GUIDs, and no byte of the disk', async () => {
  const disk = patternDisk(2 * MIB, [[0, MIB]]);
  const one = await layoutBytes(await planLayout(vhdx, disk), disk);
  const two = await layoutBytes(await planLayout(vhdx, disk, {}, new Uint8Array(32).fill(1)), disk);
  const [first, second] = [await openBytes(vhdx, one), await openBytes(vhdx, two)];
  for (const name of ['fileWriteGuid', 'dataWriteGuid', 'virtualDiskId']) {
    assert.match(String(first.details[name]), /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-/);
    assert.notEqual(first.details[name], second.details[name]);
  }
  assert.notEqual(first.details.fileWriteGuid, first.details.dataWriteGuid);
  assertSameBytes(one.subarray(3 * MIB), two.subarray(3 * MIB));
});

test('the block grows with the disk, so that the table stays at 8 MiB', async () => {
  for (const [sizeBytes, blockBytes, dataOffset] of [
    [MIB, MIB, 4 * MIB],
    [TIB, MIB, 12 * MIB],
    [TIB + 1, 2 * MIB, 8 * MIB],
    [64 * TIB, 64 * MIB, 12 * MIB],
  ] as const) {
    const placement = await vhdx.placement?.(sizeBytes, {
      options: {},
      seed: new Uint8Array(32),
      baseName: '',
    });
    const strideBytes = blockBytes;
    assert.deepEqual(placement, { kind: 'packed', blockBytes, startBytes: dataOffset, strideBytes });
  }
});

test('an empty disk, one above 64 TiB and wrong options are refused', async () => {
  await assert.rejects(planLayout(vhdx, patternDisk(0, [])), { code: 'IMAGE_LIMIT' });
  await assert.rejects(planLayout(vhdx, patternDisk(64 * TIB + 1, [])), { code: 'IMAGE_LIMIT' });
  for (const options of [
    { subformat: 'sparse' },
    { block_size: '1M' },
    { block_size: String(512 * KIB) },
    { block_size: String(3 * MIB) },
    { block_size: String(512 * MIB) },
    { logical_sector_size: '1024' },
  ]) {
    await assert.rejects(planLayout(vhdx, patternDisk(MIB, []), options), { code: 'IMAGE_OPTION' });
  }
});
