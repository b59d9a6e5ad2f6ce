import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { convertFiles } from '../../convert/convert-files.ts';
import type { Disk } from '../../disk/disk.ts';
import type { ReferenceGate } from '../../disk/reference-gate.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { memorySource } from '../../io/memory.ts';
import { fileSink, fileSource } from '../../io/node-file.ts';
import { assertRunsTellTheTruth } from '../stored-runs.testkit.ts';
import { bytesGate, cowdExtent, descriptorFile, folderGate, seSparseExtent } from './extents.testkit.ts';
import { vmdk } from './format.ts';
import { folder, noise, pattern, readAt, run, SEED, sparseDisk, writeRaw, written } from './vmdk.testkit.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

/** Larger than two extents, with data across the borders that VMware and qemu cut at. */
const split = sparseDisk(
  4 * GIB + 700 * 512,
  new Map([
    [100, noise(70_000)],
    [2047 * MIB - 1000, pattern(3 * MIB)],
    [4 * GIB - 5000, noise(9000)],
    [4 * GIB + 699 * 512, noise(512)],
  ]),
);

interface InFolder {
  readonly disk: Disk;
  readonly source: ByteSource;
  readonly references: ReferenceGate;
}

/** Opens a file with those beside it, for the length of a test. */
async function openIn(t: TestContext, path: string, name: string): Promise<InFolder> {
  const source = await fileSource(join(path, name));
  t.after(() => source.close());
  const references = await folderGate(path);
  const disk = await vmdk.open(source, { references });
  t.after(() => disk.close());
  return { disk, source, references };
}

/** What is data in either is the same in both. */
async function assertSameData(left: Disk, right: Disk): Promise<void> {
  assert.equal(left.virtualSizeBytes, right.virtualSizeBytes);
  for (const disk of [left, right]) {
    for await (const { offsetBytes, lengthBytes, kind } of disk.extents(0, disk.virtualSizeBytes)) {
      if (kind !== 'data' || lengthBytes > 64 * MIB) continue;
      const [a, b] = [
        await readAt(left, offsetBytes, lengthBytes),
        await readAt(right, offsetBytes, lengthBytes),
      ];
      assert.ok(Buffer.from(a).equals(b), `the same bytes from ${offsetBytes}`);
    }
  }
}

const SUBFORMATS = ['monolithicFlat', 'twoGbMaxExtentSparse', 'twoGbMaxExtentFlat'];

for (const subformat of SUBFORMATS) {
  test(`${subformat} by qemu-img reads as the raw disk`, async (t) => {
    const path = await folder(t);
    await writeRaw(split, join(path, 'disk.raw'));
    const convert = ['convert', '-f', 'raw', '-O', 'vmdk', '-o', `subformat=${subformat}`];
    await run('qemu-img', ...convert, join(path, 'disk.raw'), join(path, 'disk.vmdk'));
    const { disk, source, references } = await openIn(t, path, 'disk.vmdk');
    assert.equal(disk.details.createType, subformat);
    assert.deepEqual(disk.warnings, []);
    await assertSameData(disk, split);
    await assertRunsTellTheTruth(disk, 2047 * MIB - 2 * MIB, 2048 * MIB + 2 * MIB);
    const report = await vmdk.check!(source, { references });
    assert.deepEqual([report.corruptionCount, report.leakCount], [0, 0]);
  });
}

for (const subformat of [...SUBFORMATS, 'vmfs']) {
  test(`qemu-img reads a ${subformat} of ours as the raw disk`, async (t) => {
    const path = await folder(t);
    const options = { format: 'vmdk', options: { subformat }, seed: SEED, baseName: 'a b' };
    const files = await convertFiles(split, (name) => fileSink(join(path, name)), options);
    const [descriptor, ...extents] = files.map(({ name }) => name);
    assert.equal(descriptor, 'a b.vmdk');
    assert.equal(extents.length, subformat.startsWith('twoGb') ? 3 : 1);
    const raw = join(path, 'disk.raw');
    await writeRaw(split, raw);
    const image = join(path, 'a b.vmdk');
    await run('qemu-img', 'compare', '-f', 'vmdk', '-F', 'raw', image, raw);
    const info = JSON.parse(await run('qemu-img', 'info', '--output=json', image));
    assert.equal(info['format-specific'].data['create-type'], subformat);
    const { disk, source, references } = await openIn(t, path, 'a b.vmdk');
    assert.equal(disk.details.createType, subformat);
    await assertSameData(disk, split);
    assert.match(await run('vmdkinfo', image), /Number of extents\s*:\s*[13]/);
    const report = await vmdk.check!(source, { references });
    assert.deepEqual(report.findings, []);
  });
}

/** Opens a descriptor over files in memory. */
function open(bytes: Uint8Array, references: ReferenceGate): Promise<Disk> {
  return vmdk.open(memorySource(bytes, 'disk.vmdk'), { references });
}

test('extents of every kind stand one after the other, in a descriptor of any case and line end', async () => {
  const [flat, other] = [noise(64 * 512), pattern(64 * 512)];
  const files = {
    'a-flat.vmdk': flat,
    'b.bin': other,
    'c.cowd': cowdExtent(100, new Map([[7, noise(512, 3)]])),
  };
  const text = descriptorFile({
    createType: 'custom',
    extents: [
      'RW 60 flat "a-flat.vmdk" 4',
      'RDONLY  64  VMFS  "b.bin"',
      'rw 10 ZERO',
      'RW 100 VMFSSPARSE "c.cowd"',
      'NOACCESS 5 FLAT "not-supplied" 0',
      'RW 3 FLAT "b.bin" 61 partUUID dev0',
    ],
    lineEnd: '\r\n',
  });
  const gate = bytesGate(files);
  const disk = await open(text, gate);
  assert.equal(disk.virtualSizeBytes, 242 * 512);
  const expected = new Uint8Array(234 * 512);
  expected.set(flat.subarray(4 * 512));
  expected.set(other, 60 * 512);
  expected.set(noise(512, 3), (134 + 7) * 512);
  assert.deepEqual(await readAt(disk, 0, expected.length), expected);
  assert.deepEqual(await readAt(disk, 239 * 512, 3 * 512), other.slice(61 * 512));
  await assert.rejects(readAt(disk, 238 * 512, 512), { code: 'IMAGE_UNSUPPORTED' });
  const kinds = (await Array.fromAsync(disk.extents(0, 242 * 512))).map(({ kind, lengthBytes }) => [
    kind,
    lengthBytes / 512,
  ]);
  assert.deepEqual(kinds, [
    ['data', 124],
    ['zero', 10],
    ['hole', 7],
    ['data', 1],
    ['hole', 92],
    ['data', 8],
  ]);
  assert.equal(gate.openCount(), 4);
  await disk.close();
  assert.equal(gate.openCount(), 0);
});

test('vmfsSparse and seSparse extents read as qemu-img reads them', async (t) => {
  const path = await folder(t);
  const sectors = 9000 * 8;
  const files = {
    'cow-delta.vmdk': cowdExtent(
      sectors,
      new Map([5, 4095, 4096, 71_999, 9000, 6].map((g) => [g, noise(512, g)])),
    ),
    'wide-delta.vmdk': cowdExtent(sectors, new Map([5, 4095, 4096, 3].map((g) => [g, noise(4096, g)])), 8),
    'se-sesparse.vmdk': seSparseExtent(
      sectors,
      new Map([8999, 0, 1, 4095, 4096, 5000].map((grain) => [grain, noise(4096, grain + 1)])),
      new Map([
        [2, 'unmapped'],
        [8000, 'zero'],
      ]),
    ),
  };
  for (const [name, bytes] of Object.entries(files)) {
    const isSe = name.startsWith('se-');
    await writeFile(join(path, name), bytes);
    const descriptor = descriptorFile({
      createType: isSe ? 'seSparse' : 'vmfsSparse',
      extents: [`RW ${sectors} ${isSe ? 'SESPARSE' : 'VMFSSPARSE'} "${name}"`],
    });
    const image = join(path, `of-${name}`);
    await writeFile(image, descriptor);
    await run('qemu-img', 'convert', '-f', 'vmdk', '-O', 'raw', image, join(path, 'out.raw'));
    const { disk, source, references } = await openIn(t, path, `of-${name}`);
    // qemu-img 7.2 counts a VMFSSPARSE line twice.
    const expected = (await readFile(join(path, 'out.raw'))).subarray(0, sectors * 512);
    assert.ok(expected.some((byte) => byte !== 0));
    assert.ok(expected.equals(await readAt(disk, 0, sectors * 512)), name);
    await assertRunsTellTheTruth(disk);
    await assertRunsTellTheTruth(disk, 4096 * 3 + 100, 4096 * 4097 + 77);
    const report = await vmdk.check!(source, { references });
    assert.deepEqual(report.findings, []);
  }
});

test('grains of zeros in a seSparse delta hide the parent, unwritten ones show it', async () => {
  const base = noise(16 * 4096);
  const parent = descriptorFile({
    createType: 'vmfs',
    extents: ['RW 128 VMFS "base-flat.vmdk"'],
    cid: '0000abcd',
  });
  const delta = descriptorFile({
    createType: 'seSparse',
    extents: ['RW 128 SESPARSE "d.vmdk"'],
    cid: '11111111',
    parentCid: '0000ABCD',
    parentName: 'base.vmdk',
  });
  const extent = seSparseExtent(
    128,
    new Map([[3, pattern(4096)]]),
    new Map([
      [5, 'unmapped'],
      [6, 'zero'],
    ]),
  );
  const gate = bytesGate({ 'base-flat.vmdk': base, 'base.vmdk': parent, 'd.vmdk': extent });
  const disk = await open(delta, gate);
  const expected = Uint8Array.from(base);
  expected.set(pattern(4096), 3 * 4096);
  expected.fill(0, 5 * 4096, 7 * 4096);
  assert.deepEqual(await readAt(disk, 0, expected.length), expected);
  assert.deepEqual(
    (await assertRunsTellTheTruth(disk)).map(({ kind }) => kind),
    ['plain', 'plain', 'plain', 'zero', 'plain'],
  );
  await disk.close();
  assert.deepEqual([gate.asked.length, gate.openCount()], [3, 0]);
});

test('a chain of deltas by qemu-img reads as qemu-img reads it', async (t) => {
  const path = await folder(t);
  const at = (name: string) => join(path, name);
  for (const subformat of ['monolithicSparse', 'twoGbMaxExtentSparse']) {
    const [base, middle, top] = ['base', 'middle', 'top'].map((name) => `${name}-${subformat}.vmdk`) as [
      string,
      string,
      string,
    ];
    const create = ['create', '-q', '-f', 'vmdk', '-o', `subformat=${subformat}`];
    await run('qemu-img', ...create, at(base), '20M');
    await run('qemu-io', '-f', 'vmdk', '-c', 'write -P 1 0 5M', '-c', 'write -P 2 10M 1M', at(base));
    await run('qemu-img', ...create, '-b', at(base), '-F', 'vmdk', at(middle));
    await run('qemu-io', '-f', 'vmdk', '-c', 'write -P 3 1M 100k', '-c', 'write -P 4 15M 1M', at(middle));
    await run('qemu-img', ...create, '-b', at(middle), '-F', 'vmdk', at(top), '30M');
    await run('qemu-io', '-f', 'vmdk', '-c', 'write -P 5 2M 64k', '-c', 'write -P 6 29M 64k', at(top));
    await run('qemu-img', 'convert', '-f', 'vmdk', '-O', 'raw', at(top), at('out.raw'));
    const source = await fileSource(at(top));
    const inFolder = await folderGate(path);
    // qemu writes the whole path as the hint: the caller says what it means.
    const references: ReferenceGate = {
      resolve: (reference, signal) =>
        inFolder.resolve({ ...reference, name: reference.name.replace(`${path}/`, '') }, signal),
    };
    const disk = await vmdk.open(source, { references });
    const expected = await readFile(at('out.raw'));
    assert.ok(expected.equals(await readAt(disk, 0, 30 * MIB)));
    await assertRunsTellTheTruth(disk);
    await assertRunsTellTheTruth(disk, 5 * MIB - 700, 15 * MIB + 33);
    const report = await vmdk.check!(source, { references });
    assert.deepEqual([report.corruptionCount, report.leakCount], [0, 0]);
    await disk.close();
    await source.close();
  }
});

test('a parent with another CID, without one, or of another format is refused, and closed', async () => {
  const delta = descriptorFile({
    createType: 'vmfsSparse',
    extents: ['RW 8 VMFSSPARSE "d.vmdk"'],
    parentCid: '0000000a',
    parentName: 'base.vmdk',
  });
  const parent = (more: object) =>
    descriptorFile({ createType: 'vmfs', extents: ['RW 8 ZERO'], cid: '0000000b', ...more });
  const d = cowdExtent(8, new Map([[0, noise(512)]]));
  for (const [base, message] of [
    [parent({}), /has the CID 0000000b, where the delta was made over 0000000a/],
    [parent({ cid: 'x' }), /has no CID/],
    [parent({ cid: 'a', parentCid: '0000000c', parentName: 'gone.vmdk' }), /not supplied/],
  ] as const) {
    const gate = bytesGate({ 'd.vmdk': d, 'base.vmdk': base });
    await assert.rejects(open(delta, gate), { code: 'IMAGE_REFERENCE', message });
    assert.equal(gate.openCount(), 0);
  }
  assert.ok(await open(delta, bytesGate({ 'd.vmdk': d, 'base.vmdk': parent({ cid: 'A' }) })));
  const raw: ReferenceGate = {
    async resolve({ kind }) {
      return kind === 'parent'
        ? { source: memorySource(noise(4096), 'raw'), format: 'raw' }
        : { source: memorySource(d, 'd') };
    },
  };
  await assert.rejects(open(delta, raw), { code: 'IMAGE_REFERENCE', message: /has no CID/ });
});

test('files that do not fit their lines are refused, and all that was opened is closed', async () => {
  const sparse = cowdExtent(100, new Map([[0, noise(512)]]));
  const cases: readonly [string, string, Uint8Array][] = [
    ['RW 9 FLAT "f" 0', 'IMAGE_TRUNCATED', new Uint8Array(8 * 512)],
    ['RW 8 FLAT "f" 1', 'IMAGE_TRUNCATED', new Uint8Array(8 * 512)],
    ['RW 8 FLAT "f" 17592186044416', 'IMAGE_TRUNCATED', new Uint8Array(8 * 512)],
    ['RW 101 VMFSSPARSE "f"', 'IMAGE_MALFORMED', sparse],
    ['RW 100 VMFSSPARSE "f" 3', 'IMAGE_MALFORMED', sparse],
    ['RW 100 SESPARSE "f"', 'IMAGE_MALFORMED', sparse],
    ['RW 100 SPARSE "f"', 'IMAGE_MALFORMED', new Uint8Array(4096)],
    ['RW 100 SPARSE "f"', 'IMAGE_MALFORMED', descriptorFile({ createType: 'vmfs', extents: ['RW 1 ZERO'] })],
    ['RW 8 SPARSE "f"', 'IMAGE_MALFORMED', seSparseExtent(8, new Map())],
    ['RW 1 FLAT "disk.vmdk" 0', 'IMAGE_REFERENCE', new Uint8Array(0)],
    ['RW 1 FLAT "../f" 0', 'IMAGE_REFERENCE', new Uint8Array(0)],
    ['RW 1 FLAT "./f" 0', 'IMAGE_REFERENCE', new Uint8Array(0)],
  ];
  for (const [line, code, f] of cases) {
    const gate = bytesGate({ f, 'disk.vmdk': f, 'ok.vmdk': new Uint8Array(512) });
    const text = descriptorFile({ createType: 'x', extents: ['RW 1 FLAT "ok.vmdk" 0', line] });
    await assert.rejects(open(text, gate), { code }, line);
    assert.equal(gate.openCount(), 0, line);
  }
});

test('a compressed extent is no part of a disk of several files', async () => {
  const stream = await written(sparseDisk(MIB, new Map([[0, noise(512)]])), 'streamOptimized');
  const text = descriptorFile({ createType: 'twoGbMaxExtentSparse', extents: ['RW 2048 SPARSE "f"'] });
  await assert.rejects(open(text, bytesGate({ f: stream })), { code: 'IMAGE_UNSUPPORTED' });
});

test('a file that is named by three lines is shown three times', async () => {
  const gate = bytesGate({ f: noise(8 * 512) });
  const disk = await open(
    descriptorFile({ createType: 'twoGbMaxExtentFlat', extents: Array(3).fill('RW 8 FLAT "f" 0') }),
    gate,
  );
  assert.deepEqual([disk.virtualSizeBytes, gate.openCount()], [3 * 4096, 3]);
  const expected = Buffer.concat([noise(4096), noise(4096), noise(4096)]);
  assert.ok(expected.equals(await readAt(disk, 0, 3 * 4096)));
});

test('a name is given to the gate as it is written', async () => {
  const names = ['/etc/passwd', '..\\x', 'C:\\vm\\x.vmdk', 'http://a/b', 'json:{}', ' x ', 'naïve.vmdk'];
  for (const name of names) {
    const gate = bytesGate({ [name]: noise(512) });
    const text = descriptorFile({ createType: 'x', extents: [`RW 1 FLAT "${name}" 0`] });
    await open(text, gate);
    assert.deepEqual(gate.asked, [`extent file ${name}`]);
    await assert.rejects(open(text, bytesGate({ x: noise(512) })), { code: 'IMAGE_REFERENCE' });
  }
});
