import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { denyReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import type { CheckReport } from '../format.ts';
import { testFolder, tool, writeRaw } from '../images.testkit.ts';
import { checkQcow2 } from './check.ts';
import { inFolder, qemuImage, qemuIo } from './qcow2.testkit.ts';

const OFFSET = 0x00ff_ffff_ffff_fe00n;

function check(image: Uint8Array): Promise<CheckReport> {
  return checkQcow2(memorySource(image), { references: denyReferences });
}

/** What qemu-img says; a file that it refuses counts as corrupt. */
async function qemuCheck(path: string): Promise<{ corruptions: number; leaks: number }> {
  const run = promisify(execFile)('qemu-img', ['check', '-f', 'qcow2', '--output=json', path]);
  const { stdout } = (await run.catch((error) => error)) as { stdout: string };
  if (stdout === '') return { corruptions: 1, leaks: 0 };
  const said = JSON.parse(stdout) as Record<string, number>;
  return { corruptions: (said.corruptions ?? 0) + (said['check-errors'] ?? 0), leaks: said.leaks ?? 0 };
}

const writes = ['write -P 1 0 40k', 'write -P 2 2100k 9k', 'write -z 100k 8k', 'write -z -u 4k 4k'];

async function images(context: TestContext): Promise<ReadonlyMap<string, string>> {
  const at = inFolder(await testFolder(context));
  const made = new Map<string, string>();
  const make = async (name: string, options: string, ...commands: string[]) => {
    made.set(name, await qemuImage(at(name), '4m', options, [...writes, ...commands]));
  };
  await make('plain', 'cluster_size=4k');
  await make('v2', 'compat=0.10,cluster_size=4k');
  await make('large clusters', 'cluster_size=2m');
  await make('subclusters', 'extended_l2=on,cluster_size=16k', 'write -P 3 50k 1k', 'discard 51k 512');
  await make('vm state', 'cluster_size=4k', 'write -b -P 4 0 64k');
  for (const bits of [1, 2, 4, 8, 32, 64])
    await make(`refcounts of ${bits}`, `cluster_size=4k,refcount_bits=${bits}`);
  await make('snapshots', 'cluster_size=4k');
  await tool('qemu-img', 'snapshot', '-c', 'one', at('snapshots'));
  await qemuIo(at('snapshots'), ['write -P 3 0 10k']);
  await tool('qemu-img', 'snapshot', '-c', 'two', at('snapshots'));
  await make('bitmaps', 'cluster_size=4k');
  for (const name of ['one', 'two']) await tool('qemu-img', 'bitmap', '--add', at('bitmaps'), name);
  await qemuIo(at('bitmaps'), ['write -P 3 1m 64k']);
  await writeRaw(at('raw'), 4 * 2 ** 20, [[100_000, 700_000]]);
  for (const type of ['zlib', 'zstd']) {
    const options = `cluster_size=4k,compression_type=${type}`;
    await tool('qemu-img', 'convert', '-c', '-f', 'raw', '-O', 'qcow2', '-o', options, at('raw'), at(type));
    await qemuIo(at(type), ['write -P 3 200k 10k']);
    made.set(type, at(type));
  }
  return made;
}

test('what qemu made is clean', async (context) => {
  for (const [name, path] of await images(context)) {
    const report = await check(await readFile(path));
    assert.deepEqual(
      report,
      { format: 'qcow2', findings: [], corruptionCount: 0, leakCount: 0, warningCount: 0 },
      name,
    );
  }
});

/** Bytes of the tables that say where things stand. */
function tableBytes(image: Buffer): readonly number[] {
  const clusterBytes = 2 ** image.readUInt32BE(20);
  const l1 = Number(image.readBigUInt64BE(40));
  const l1Bytes = image.readUInt32BE(36) * 8;
  const places: number[] = [];
  const add = (from: number, to: number) => {
    for (let at = from; at < to; at++) places.push(at);
  };
  for (let repeat = 0; repeat < 8; repeat++) add(l1, l1 + Math.min(64, l1Bytes));
  for (let at = l1; at < l1 + l1Bytes; at += 8) {
    const l2 = Number(image.readBigUInt64BE(at) & OFFSET);
    if (l2 !== 0) add(l2, l2 + Math.min(512, clusterBytes));
  }
  const refcountTable = Number(image.readBigUInt64BE(48));
  const refcountBlock = Number(image.readBigUInt64BE(refcountTable));
  for (let repeat = 0; repeat < 8; repeat++) add(refcountTable, refcountTable + 8);
  add(refcountBlock, refcountBlock + 200);
  return places;
}

test('one damaged byte of a table gives the verdict of qemu-img check', async (context) => {
  const made = await images(context);
  const at = inFolder(await testFolder(context));
  const sources = await Promise.all(
    ['plain', 'refcounts of 1', 'refcounts of 64', 'snapshots', 'bitmaps', 'zlib'].map(async (name) => {
      const image = await readFile(made.get(name) ?? '');
      return { name, image, places: tableBytes(image) };
    }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...sources),
      fc.nat(),
      fc.nat({ max: 255 }),
      async (source, where, value) => {
        const { name, image, places } = source;
        const place = places[where % places.length] ?? 0;
        const damaged = Buffer.from(image);
        damaged[place] = value;
        await writeFile(at('damaged'), damaged);
        const expected = await qemuCheck(at('damaged'));
        const report = await check(damaged).catch((error) => {
          assert.equal(error.code, 'IMAGE_TRUNCATED', `${name}: byte ${place} = ${value}: ${error.message}`);
          return { corruptionCount: 1, leakCount: 0, findings: [] };
        });
        // An offset of 0 with the COPIED bit is for external data files alone (qcow2 specification, "Standard Cluster
        // Descriptor"); qemu-img lets it pass elsewhere too.
        const [finding, more] = report.findings;
        if (finding?.message === 'an allocated cluster has no place' && more === undefined) return;
        const what = `${name}: byte ${place} = ${value}: ${JSON.stringify(report)} and ${JSON.stringify(expected)}`;
        assert.equal(report.corruptionCount > 0, expected.corruptions > 0, what);
        if (expected.corruptions === 0) assert.equal(report.leakCount, expected.leaks, what);
      },
    ),
    { numRuns: 100 },
  );
});

/** A plain image of 4 KiB clusters with its tables at hand. */
async function plainImage(
  context: TestContext,
): Promise<{ image: Buffer; l1: number; l2: number; blocks: number }> {
  const at = inFolder(await testFolder(context));
  const image = await readFile(await qemuImage(at('a.qcow2'), '4m', 'cluster_size=4k', writes));
  const l1 = Number(image.readBigUInt64BE(40));
  return {
    image,
    l1,
    l2: Number(image.readBigUInt64BE(l1) & OFFSET),
    blocks: Number(image.readBigUInt64BE(Number(image.readBigUInt64BE(48)))),
  };
}

const findingOf = (report: CheckReport) =>
  report.findings.map(({ severity, structure }) => `${severity}: ${structure}`);

test('each kind of damage is found where it is', async (context) => {
  const { image, l1, l2, blocks } = await plainImage(context);
  const third = Number(image.readBigUInt64BE(l2 + 16) & OFFSET) / 4096;
  const cases: readonly (readonly [what: string, change: (copy: Buffer) => void, finding: string])[] = [
    ['an entry cleared', (copy) => copy.writeBigUInt64BE(0n, l2 + 16), 'leak: qcow2 refcounts'],
    ['a refcount too high', (copy) => copy.writeUInt16BE(2, blocks + third * 2), 'leak: qcow2 refcounts'],
    [
      'a refcount too low',
      (copy) => copy.writeUInt16BE(0, blocks + third * 2),
      'corruption: qcow2 refcounts',
    ],
    ['COPIED cleared', (copy) => copy.writeUInt8(0, l2 + 16), 'corruption: qcow2 L2 table'],
    [
      'two entries for one cluster',
      (copy) => copy.copy(copy, l2 + 16, l2, l2 + 8),
      'corruption: qcow2 refcounts',
    ],
    ['an entry beyond the end', (copy) => copy.writeUInt8(0x10, l2 + 19), 'corruption: qcow2 data cluster'],
    ['an entry inside of a cluster', (copy) => copy.writeUInt8(0x02, l2 + 22), 'corruption: qcow2 L2 table'],
    ['a reserved bit of L2', (copy) => copy.writeUInt8(0x90, l2 + 16), 'corruption: qcow2 L2 table'],
    ['a reserved bit of L1', (copy) => copy.writeUInt8(0x90, l1), 'corruption: qcow2 L1 table'],
    [
      'data on the L1 table',
      (copy) => copy.writeBigUInt64BE(BigInt(l1), l2 + 16),
      'corruption: qcow2 data cluster',
    ],
    [
      'an L2 table on the L1 table',
      (copy) => copy.writeBigUInt64BE(BigInt(l1), l1),
      'corruption: qcow2 L2 table',
    ],
    ['an L2 table beyond the end', (copy) => copy.writeUInt8(0x10, l1 + 3), 'corruption: qcow2 L1 table'],
  ];
  for (const [what, change, finding] of cases) {
    const copy = Buffer.from(image);
    change(copy);
    assert.ok(findingOf(await check(copy)).includes(finding), `${what}: ${findingOf(await check(copy))}`);
  }
});

test('the dirty bit is a warning', async (context) => {
  const { image } = await plainImage(context);
  image.writeUInt8(1, 79);
  assert.deepEqual(findingOf(await check(image)), ['warning: qcow2 header']);
});

test('bitmaps that another program made stale are leaks, as qemu-img says', async (context) => {
  const at = inFolder(await testFolder(context));
  const path = await qemuImage(at('a.qcow2'), '4m', 'cluster_size=4k', writes);
  await tool('qemu-img', 'bitmap', '--add', path, 'one');
  const image = await readFile(path);
  image.writeBigUInt64BE(0n, 88);
  await writeFile(path, image);
  const report = await check(image);
  assert.equal(report.corruptionCount, 0);
  assert.ok(report.leakCount > 0);
  assert.deepEqual({ corruptions: 0, leaks: report.leakCount }, await qemuCheck(path));
});

test('what cannot be walked at all is thrown', async (context) => {
  const { image, l1 } = await plainImage(context);
  for (const [offset, structure] of [
    [40, 'qcow2 L1 table'],
    [48, 'qcow2 refcount table'],
  ] as const) {
    const copy = Buffer.from(image);
    copy.writeBigUInt64BE(BigInt(l1) + 2n ** 40n, offset);
    await assert.rejects(check(copy), { code: 'IMAGE_TRUNCATED', structure });
  }
  const at = inFolder(await testFolder(context));
  await tool('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', `data_file=${at('data')}`, at('a.qcow2'), '1m');
  await assert.rejects(check(await readFile(at('a.qcow2'))), { code: 'IMAGE_UNSUPPORTED' });
});

test('a refcount table that names one block for ever is read once', async (context) => {
  const { image, blocks } = await plainImage(context);
  const table = Buffer.alloc(8 * 2 ** 20);
  for (let at = 0; at < table.length; at += 8) table.writeBigUInt64BE(BigInt(blocks), at);
  const start = Math.ceil(image.length / 4096) * 4096;
  const whole = Buffer.concat([image, Buffer.alloc(start - image.length), table]);
  whole.writeBigUInt64BE(BigInt(start), 48);
  whole.writeUInt32BE(table.length / 4096, 56);
  const report = await check(whole);
  assert.ok(report.corruptionCount >= table.length / 8 - 1);
  assert.equal(report.findings.length, 1000);
});

test('L1 tables that name one L2 table for ever are walked once', async (context) => {
  const { image, l1 } = await plainImage(context);
  // The whole L1 table of 32 MiB, and a snapshot with the same one.
  const entryCount = (32 * 2 ** 20) / 8;
  const table = Buffer.alloc(entryCount * 8, image.subarray(l1, l1 + 8));
  const start = Math.ceil(image.length / 4096) * 4096;
  const snapshot = Buffer.alloc(4096);
  snapshot.writeBigUInt64BE(BigInt(start), 0);
  snapshot.writeUInt32BE(entryCount, 8);
  const whole = Buffer.concat([image, Buffer.alloc(start - image.length), table, snapshot]);
  whole.writeBigUInt64BE(BigInt(start), 40);
  whole.writeUInt32BE(entryCount, 36);
  whole.writeUInt32BE(1, 60);
  whole.writeBigUInt64BE(BigInt(start + table.length), 64);
  const report = await check(whole);
  assert.ok(findingOf(report).includes('corruption: qcow2 L1 table'), 'two L1 tables in one place');
  assert.ok(report.corruptionCount > 4096);
});

test('snapshots whose L1 tables stand on top of each other do not multiply the work', async (context) => {
  const { image } = await plainImage(context);
  const start = Math.ceil(image.length / 4096) * 4096;
  const count = 60_000;
  const table = Buffer.alloc(Math.ceil((count * 40) / 4096) * 4096);
  for (let i = 0; i < count; i++) {
    table.writeBigUInt64BE(0n, i * 40);
    table.writeUInt32BE(200_000, i * 40 + 8);
  }
  const whole = Buffer.concat([image, Buffer.alloc(start - image.length), table]);
  whole.writeUInt32BE(count, 60);
  whole.writeBigUInt64BE(BigInt(start), 64);
  const report = await check(whole);
  assert.ok(report.corruptionCount > count / 2);
});

test('a bitmap directory that lies about its tables is refused', async (context) => {
  const at = inFolder(await testFolder(context));
  const path = await qemuImage(at('a.qcow2'), '4m', 'cluster_size=4k', writes);
  await tool('qemu-img', 'bitmap', '--add', path, 'one');
  const image = await readFile(path);
  const extension = image.indexOf(Buffer.from('23852875', 'hex'));
  const directory = Number(image.readBigUInt64BE(extension + 24));
  const cases: readonly (readonly [(copy: Buffer) => void, string])[] = [
    [(copy) => copy.writeUInt32BE(65_536, extension + 8), 'IMAGE_LIMIT'],
    [(copy) => copy.writeBigUInt64BE(2n ** 30n, extension + 16), 'IMAGE_LIMIT'],
    [(copy) => copy.writeUInt32BE(2, extension + 8), 'IMAGE_MALFORMED'],
    [(copy) => copy.writeUInt32BE(0x7fffffff, directory + 8), 'IMAGE_LIMIT'],
    [(copy) => copy.writeBigUInt64BE(2n ** 60n, directory), 'IMAGE_LIMIT'],
    [(copy) => copy.writeBigUInt64BE(2n ** 40n, directory), 'IMAGE_TRUNCATED'],
    [(copy) => copy.writeUInt32BE(8, extension + 4), 'IMAGE_MALFORMED'],
  ];
  for (const [change, code] of cases) {
    const copy = Buffer.from(image);
    change(copy);
    await assert.rejects(check(copy), { code });
  }
});

test('an aborted check throws the reason', async (context) => {
  const { image } = await plainImage(context);
  const reason = new Error('enough');
  const options = { references: denyReferences, signal: AbortSignal.abort(reason) };
  await assert.rejects(checkQcow2(memorySource(image), options), reason);
});
