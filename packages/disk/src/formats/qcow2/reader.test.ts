import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFile, readFile, truncate, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { promisify } from 'node:util';
import type { Disk, Extent } from '../../disk/disk.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import { assertSameBytes, diskBytes, openBytes, testFolder, tool, writeRaw } from '../images.testkit.ts';
import { qcow2 } from './format.ts';
import { assertReadsAs, inFolder, openWithFiles, qemuBytes, qemuImage, qemuIo } from './qcow2.testkit.ts';

const writes = [
  'write -P 0x11 0 64k',
  'write -P 0x22 100k 1k',
  'write -P 0x33 1m 200k',
  'write -z 1060k 20k',
  'write -P 0x44 3071k 1k',
];

/** Images that qemu makes, by their creation options and what is done to them. */
const images: readonly (readonly [size: string, options: string, commands: readonly string[]])[] = [
  ['3m', 'compat=0.10', writes],
  ['3m', 'compat=1.1', writes],
  ['3m', 'cluster_size=512', writes],
  ['3m', 'compat=0.10,cluster_size=512', writes],
  ['3m', 'cluster_size=4k', writes],
  ['3m', 'cluster_size=2m', writes],
  ['3m', 'refcount_bits=1', writes],
  ['3m', 'refcount_bits=2', writes],
  ['3m', 'refcount_bits=8', writes],
  ['3m', 'refcount_bits=32', writes],
  ['3m', 'refcount_bits=64', writes],
  ['3m', 'preallocation=metadata', writes],
  ['3m', 'preallocation=falloc', writes],
  ['3m', 'lazy_refcounts=on', writes],
  [
    '3m',
    'extended_l2=on,cluster_size=64k',
    [...writes, 'write -P 0x55 130k 2k', 'write -z 132k 2k', 'discard 134k 2k'],
  ],
  ['3m', 'extended_l2=on,cluster_size=2m', [...writes, 'discard 0 64k', 'write -z -u 1m 64k']],
  ['3m', 'extended_l2=on,cluster_size=16k,preallocation=metadata', ['write -P 1 5k 512']],
  // Zero flags: with and without the cluster that was there before; discarded clusters.
  ['3m', '', [...writes, 'write -z 0 64k', 'write -z -u 1m 64k', 'discard 1088k 64k']],
  // State of a virtual machine, beyond the disk's end in the L1 table.
  ['3m', '', [...writes, 'write -b -P 0x66 0 300k']],
  ['0', '', []],
  ['512', '', ['write -P 7 0 512']],
  ['3146240', '', ['write -P 7 3145728 512']],
  ['3146240', 'cluster_size=2m', ['write -P 7 3145728 512']],
];

test('images that qemu writes read as qemu reads them', async (context) => {
  const at = inFolder(await testFolder(context));
  for (const [i, [size, options, commands]] of images.entries()) {
    const path = await qemuImage(at(`${i}.qcow2`), size, options, commands);
    const disk = await openWithFiles(context, path);
    await assertReadsAs(disk, await qemuBytes(path), `${options} of ${size}`);
  }
});

test('compressed images that qemu writes read as qemu reads them', async (context) => {
  const at = inFolder(await testFolder(context));
  // A pattern that compresses, noise that does not, and holes.
  await writeRaw(at('disk.raw'), 3 * 2 ** 20 + 512, [
    [0, 300_000],
    [2 ** 20, 65536],
    [3 * 2 ** 20 - 70_000, 70_512],
  ]);
  const noise = Uint8Array.from({ length: 200_000 }, (_, i) => Math.imul(i, 2_654_435_761) >>> 11);
  const raw = await readFile(at('disk.raw'));
  raw.set(noise, 1_500_000);
  await writeFile(at('disk.raw'), raw);
  const options = [
    'compression_type=zlib',
    'compression_type=zstd',
    'compat=0.10',
    'cluster_size=512',
    'cluster_size=4k,compression_type=zstd',
    'cluster_size=2m',
    'cluster_size=2m,compression_type=zstd',
    'extended_l2=on,cluster_size=128k,compression_type=zstd',
  ];
  for (const [i, option] of options.entries()) {
    const path = at(`${i}.qcow2`);
    await tool('qemu-img', 'convert', '-c', '-f', 'raw', '-O', 'qcow2', '-o', option, at('disk.raw'), path);
    const disk = await openWithFiles(context, path);
    await assertReadsAs(disk, raw, option);
    const extents = await Array.fromAsync(disk.extents(0, disk.virtualSizeBytes));
    assert.ok(
      extents.some(({ compressed }) => compressed),
      `${option}: compressed extents say so`,
    );
    // qemu writes over a compressed cluster with a plain one.
    await qemuIo(path, ['write -P 0x77 65k 3k']);
    await assertReadsAs(await openWithFiles(context, path), await qemuBytes(path), `${option}, written to`);
  }
});

async function kinds(disk: Disk): Promise<readonly Pick<Extent, 'offsetBytes' | 'kind'>[]> {
  const found: Pick<Extent, 'offsetBytes' | 'kind'>[] = [];
  for await (const { offsetBytes, kind } of disk.extents(0, disk.virtualSizeBytes))
    found.push({ offsetBytes, kind });
  return found;
}

test('holes, known zeros and data are told apart', async (context) => {
  const at = inFolder(await testFolder(context));
  const commands = ['write -P 1 64k 64k', 'write -z 256k 64k'];
  const disk = await openWithFiles(context, await qemuImage(at('a.qcow2'), '512k', '', commands));
  const KIB = 1024;
  assert.deepEqual(await kinds(disk), [
    { offsetBytes: 0, kind: 'hole' },
    { offsetBytes: 64 * KIB, kind: 'data' },
    { offsetBytes: 128 * KIB, kind: 'hole' },
    { offsetBytes: 256 * KIB, kind: 'zero' },
    { offsetBytes: 320 * KIB, kind: 'hole' },
  ]);
});

test('the extents of any range cover it exactly', async (context) => {
  const at = inFolder(await testFolder(context));
  const path = await qemuImage(at('a.qcow2'), '300k', 'cluster_size=4k', [
    'write -P 1 8k 9k',
    'write -z 100k 8k',
  ]);
  const disk = await openWithFiles(context, path);
  for (let from = 0; from <= disk.virtualSizeBytes; from += 3001) {
    for (let to = from; to <= disk.virtualSizeBytes; to += 7919) {
      let end = from;
      for await (const { offsetBytes, lengthBytes } of disk.extents(from, to)) {
        assert.equal(offsetBytes, end);
        assert.ok(lengthBytes > 0);
        end += lengthBytes;
      }
      assert.equal(end, to);
    }
  }
});

test('the active state is read, not an internal snapshot', async (context) => {
  const at = inFolder(await testFolder(context));
  const path = await qemuImage(at('a.qcow2'), '1m', '', ['write -P 1 0 256k']);
  await tool('qemu-img', 'snapshot', '-c', 'before', path);
  await qemuIo(path, ['write -P 2 64k 64k', 'write -z 128k 64k']);
  await tool('qemu-img', 'snapshot', '-c', 'after', path);
  await qemuIo(path, ['write -P 3 0 64k']);
  const disk = await openWithFiles(context, path);
  await assertReadsAs(disk, await qemuBytes(path), 'with snapshots');
  assert.equal(disk.details.snapshotCount, 2);
});

test('bitmaps are left aside', async (context) => {
  const at = inFolder(await testFolder(context));
  const path = await qemuImage(at('a.qcow2'), '1m', '', ['write -P 1 0 100k']);
  await tool('qemu-img', 'bitmap', '--add', path, 'backup');
  await qemuIo(path, ['write -P 2 50k 100k']);
  await assertReadsAs(await openWithFiles(context, path), await qemuBytes(path), 'with a bitmap');
});

test('an image that was not closed is read with a warning', async (context) => {
  const at = inFolder(await testFolder(context));
  const path = await qemuImage(at('a.qcow2'), '1m', 'lazy_refcounts=on');
  const abort = promisify(execFile)('qemu-io', [
    '-f',
    'qcow2',
    '-c',
    'write -P 1 0 64k',
    '-c',
    'abort',
    path,
  ]);
  await assert.rejects(abort);
  const disk = await openWithFiles(context, path);
  assert.match(disk.warnings.join(), /not closed/);
  const expected = new Uint8Array(2 ** 20).fill(1, 0, 65536);
  assertSameBytes(await diskBytes(disk), expected);
});

test('a size that is no multiple of a cluster or a sector is kept to the byte', async (context) => {
  const at = inFolder(await testFolder(context));
  const path = await qemuImage(at('a.qcow2'), '1m', '', ['write -P 9 0 1m']);
  for (const size of [2 ** 20 - 1, 2 ** 20 - 65536 + 100, 1]) {
    const image = await readFile(path);
    image.writeBigUInt64BE(BigInt(size), 24);
    const disk = await openBytes(qcow2, image);
    await assertReadsAs(disk, new Uint8Array(size).fill(9), `size ${size}`);
  }
});

test('a file may end inside its last cluster, on a sector', async (context) => {
  const at = inFolder(await testFolder(context));
  const path = await qemuImage(at('a.qcow2'), '1m', '', ['write -P 9 0 64k', 'write -P 8 64k 4k']);
  const whole = await qemuBytes(path);
  await truncate(path, 6 * 65536 + 4096);
  await assertReadsAs(await openWithFiles(context, path), whole, 'without its tail');
  await truncate(path, 6 * 65536 + 4095);
  const disk = await openWithFiles(context, path);
  await assert.rejects(disk.read(65536, new Uint8Array(65536)), { code: 'IMAGE_TRUNCATED' });
});

test('a chain of three files reads through the gate, whatever their sizes and cluster sizes are', async (context) => {
  const at = inFolder(await testFolder(context));
  await writeRaw(at('base.raw'), 700_416, [[0, 700_416]]);
  const middle = ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', 'base.raw', '-o', 'cluster_size=4k'];
  await tool('qemu-img', ...middle, at('middle.qcow2'), '900k');
  await qemuIo(at('middle.qcow2'), ['write -P 2 100k 10k', 'write -z 300k 64k', 'write -P 3 890k 5k']);
  const top = ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', 'middle.qcow2', '-o', 'extended_l2=on'];
  await tool('qemu-img', ...top, at('top.qcow2'), '2m');
  await qemuIo(at('top.qcow2'), [
    'write -P 4 101k 2k',
    'write -z 64k 2k',
    'write -P 5 1m 5k',
    'discard 1m 2k',
  ]);
  const disk = await openWithFiles(context, at('top.qcow2'), {
    'middle.qcow2': { path: at('middle.qcow2') },
    'base.raw': { path: at('base.raw') },
  });
  await assertReadsAs(disk, await qemuBytes(at('top.qcow2')), 'a chain');
});

test('a backing file of a format that qemu calls by another name is opened', async (context) => {
  const at = inFolder(await testFolder(context));
  await writeRaw(at('base.raw'), 2 ** 20, [[0, 100_000]]);
  await tool(
    'qemu-img',
    'convert',
    '-f',
    'raw',
    '-O',
    'vpc',
    '-o',
    'force_size=on',
    at('base.raw'),
    at('base.vhd'),
  );
  await tool('qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'vpc', '-b', 'base.vhd', at('top.qcow2'));
  const disk = await openWithFiles(context, at('top.qcow2'), { 'base.vhd': { path: at('base.vhd') } });
  await assertReadsAs(disk, await readFile(at('base.raw')), 'over a VHD');
});

test('an overlay smaller than its backing file ends where it says', async (context) => {
  const at = inFolder(await testFolder(context));
  await writeRaw(at('base.raw'), 1_000_448, [[0, 1_000_448]]);
  await tool(
    'qemu-img',
    'create',
    '-q',
    '-f',
    'qcow2',
    '-F',
    'raw',
    '-b',
    'base.raw',
    at('top.qcow2'),
    '300k',
  );
  const disk = await openWithFiles(context, at('top.qcow2'), { 'base.raw': { path: at('base.raw') } });
  await assertReadsAs(disk, (await readFile(at('base.raw'))).subarray(0, 300 * 1024), 'a short overlay');
});

/** The top of a chain over `base.raw`; `declared` is whether it names its backing file's format. */
async function overlay(at: (name: string) => string, declared: boolean): Promise<string> {
  await writeRaw(at('base.raw'), 65536, [[0, 65536]]);
  await tool('qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', 'base.raw', at('top.qcow2'));
  const image = await readFile(at('top.qcow2'));
  // The type of the backing format extension, changed to one that readers skip.
  const type = image.indexOf(Buffer.from('e2792aca', 'hex'));
  assert.ok(type > 0);
  if (!declared) image.writeUInt32BE(0x12345678, type);
  await writeFile(at('top.qcow2'), image);
  return at('top.qcow2');
}

test('a backing file is refused when references are denied or it is not supplied', async (context) => {
  const at = inFolder(await testFolder(context));
  const image = await readFile(await overlay(at, true));
  await assert.rejects(qcow2.open(memorySource(image), { references: denyReferences }), {
    code: 'IMAGE_REFERENCE',
    structure: 'qcow2 backing file name',
    message: /"base\.raw"/,
  });
  await assert.rejects(openWithFiles(context, at('top.qcow2'), { other: { path: at('base.raw') } }), {
    code: 'IMAGE_REFERENCE',
  });
});

test('the format of a backing file is never guessed', async (context) => {
  const at = inFolder(await testFolder(context));
  const path = await overlay(at, false);
  await assert.rejects(openWithFiles(context, path, { 'base.raw': { path: at('base.raw') } }), {
    code: 'IMAGE_REFERENCE',
    message: /format/,
  });
  const disk = await openWithFiles(context, path, { 'base.raw': { path: at('base.raw'), format: 'raw' } });
  await assertReadsAs(disk, await readFile(at('base.raw')), 'declared by the caller');
});

test('a raw backing file in which a guest wrote a qcow2 stays raw', async (context) => {
  const at = inFolder(await testFolder(context));
  const path = await overlay(at, true);
  await qemuImage(at('trap.qcow2'), '1m', '');
  await copyFile(at('trap.qcow2'), at('base.raw'));
  const disk = await openWithFiles(context, path, { 'base.raw': { path: at('base.raw') } });
  assertSameBytes(await diskBytes(disk), (await readFile(at('base.raw'))).subarray(0, 65536));
});

test('what the caller declares about a backing file goes before what the image says', async (context) => {
  const at = inFolder(await testFolder(context));
  const path = await overlay(at, true);
  await qemuImage(at('base.qcow2'), '64k', '', ['write -P 5 0 64k']);
  const disk = await openWithFiles(context, path, {
    'base.raw': { path: at('base.qcow2'), format: 'qcow2' },
  });
  assertSameBytes(await diskBytes(disk), new Uint8Array(65536).fill(5));
});

test('a chain that comes back to a file is refused, not followed', async (context) => {
  const at = inFolder(await testFolder(context));
  await qemuImage(at('a.qcow2'), '1m', '');
  await tool('qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', 'a.qcow2', at('b.qcow2'));
  await tool('qemu-img', 'rebase', '-q', '-u', '-f', 'qcow2', '-F', 'qcow2', '-b', 'b.qcow2', at('a.qcow2'));
  const files = { 'a.qcow2': { path: at('a.qcow2') }, 'b.qcow2': { path: at('b.qcow2') } };
  await assert.rejects(openWithFiles(context, at('a.qcow2'), files), {
    code: 'IMAGE_REFERENCE',
    message: /comes back/,
  });
  // The same file under ever new names ends at the depth limit.
  let count = 0;
  const image = await readFile(at('a.qcow2'));
  const endless = {
    resolve: async () => ({ source: memorySource(image, `name ${count++}`), format: 'qcow2' }),
  };
  await assert.rejects(qcow2.open(memorySource(image, 'top'), { references: endless }), {
    code: 'IMAGE_REFERENCE',
    message: /deeper/,
  });
  assert.ok(count <= 64, `${count} files were opened`);
});

test('closing a disk closes the files of its chain, and so does a refusal', async (context) => {
  const at = inFolder(await testFolder(context));
  const image = await readFile(await overlay(at, true));
  let closed = 0;
  const gate = (format: string) => ({
    resolve: async () => {
      const source = memorySource(new Uint8Array(65536), 'base');
      return { format, source: { ...source, close: async () => void closed++ } };
    },
  });
  const disk = await qcow2.open(memorySource(image, 'top'), { references: gate('raw') });
  assert.equal(closed, 0);
  await disk.close();
  assert.equal(closed, 1);
  for (const format of ['qcow2', 'no such format']) {
    await assert.rejects(qcow2.open(memorySource(image, 'top'), { references: gate(format) }));
  }
  assert.equal(closed, 3);
});

test('an encrypted image is refused by name', async (context) => {
  const at = inFolder(await testFolder(context));
  const aes = ['--object', 'secret,id=s,data=x', '-o', 'encrypt.format=aes,encrypt.key-secret=s'];
  await tool('qemu-img', 'create', '-q', '-f', 'qcow2', ...aes, at('a.qcow2'), '1m');
  const image = await readFile(at('a.qcow2'));
  for (const method of [1, 2]) {
    image.writeUInt32BE(method, 32);
    await assert.rejects(openBytes(qcow2, image), { code: 'IMAGE_UNSUPPORTED', message: /encrypted/ });
  }
});

test('an aborted read or walk throws the reason', async (context) => {
  const at = inFolder(await testFolder(context));
  const disk = await openWithFiles(context, await qemuImage(at('a.qcow2'), '1m', '', ['write -P 1 0 1m']));
  const reason = new Error('enough');
  const aborted = AbortSignal.abort(reason);
  await assert.rejects(disk.read(0, new Uint8Array(512), aborted), reason);
  await assert.rejects(Array.fromAsync(disk.extents(0, 2 ** 20, aborted)), reason);
});
