import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { convert } from '../convert/convert.ts';
import { diskDigest } from '../disk/digest.ts';
import { denyReferences } from '../disk/reference-gate.ts';
import type { ByteSource } from '../io/byte-source.ts';
import { forwardSource, openEndedSource } from '../io/forward.ts';
import { memorySink } from '../io/memory.ts';
import { spooledSource } from '../io/node-file.ts';
import { inPieces, piped } from '../wrappers/wrappers.testkit.ts';
import { assertSameBytes, diskBytes, patternDisk, testFolder } from './images.testkit.ts';
import { openDisk } from './open.ts';

const references = denyReferences;
const size = 40 * 2 ** 20 + 512;
const runs = [
  [0, 70_000],
  [3 * 2 ** 20, 2_000_000],
  [39 * 2 ** 20, 2 ** 20 + 512],
] as const;
const digest = await diskDigest(patternDisk(size, runs));

async function imageBytes(format: string, options = {}, compression?: 'zlib' | 'zstd'): Promise<Uint8Array> {
  const sink = memorySink();
  await convert(patternDisk(size, runs), sink, { format, options, compression });
  return sink.bytes();
}

function spoolInto(folder: string): (bytes: AsyncIterable<Uint8Array>) => Promise<ByteSource> {
  return (bytes) => spooledSource(bytes, folder, 'pipe');
}

async function throughPipe(context: TestContext, bytes: Uint8Array, format?: string): Promise<boolean> {
  const folder = await testFolder(context);
  let isSpooled = false;
  const spool = async (arriving: AsyncIterable<Uint8Array>) => {
    isSpooled = true;
    return spooledSource(arriving, folder, 'pipe');
  };
  const source = await openEndedSource(inPieces(bytes), 'pipe');
  const disk = await openDisk(source, { references, format, spool });
  assert.equal(await diskDigest(disk), digest);
  await disk.drain?.();
  await source.drain?.();
  await disk.close();
  await source.close();
  assert.deepEqual(await readdir(folder), []);
  return isSpooled;
}

const forward: Readonly<Record<string, () => Promise<Uint8Array>>> = {
  qcow2: () => imageBytes('qcow2'),
  'qcow2 zlib': () => imageBytes('qcow2', {}, 'zlib'),
  vdi: () => imageBytes('vdi'),
  vhd: () => imageBytes('vhd'),
  vhdx: () => imageBytes('vhdx'),
  qcow: () => imageBytes('qcow'),
  zvhd: () => imageBytes('zvhd', {}, 'zlib'),
  zvhd2: () => imageBytes('zvhd2', {}, 'zstd'),
  vmdk: () => imageBytes('vmdk'),
  streamOptimized: () => imageBytes('vmdk', { subformat: 'streamOptimized' }),
  oci: () => imageBytes('oci'),
  ova: () => imageBytes('ova'),
  'qcow2 in xz': async () => piped('xz', ['-0c'], await imageBytes('qcow2')),
  'oci in gzip': async () => piped('gzip', ['-1c'], await imageBytes('oci')),
};

for (const [name, bytes] of Object.entries(forward)) {
  test(`${name} is read as it comes through a pipe`, async (context) => {
    assert.equal(await throughPipe(context, await bytes()), false);
  });
}

const spooled: Readonly<Record<string, readonly [() => Promise<Uint8Array>, format?: string]>> = {
  'a raw disk': [() => imageBytes('raw')],
  'a raw disk that is declared': [() => imageBytes('raw'), 'raw'],
  'a fixed VHD': [() => imageBytes('vhd', { subformat: 'fixed' })],
  'a fixed VHD that is declared': [() => imageBytes('vhd', { subformat: 'fixed' }), 'vhd'],
  'a raw disk in gzip': [async () => piped('gzip', ['-1c'], await imageBytes('raw'))],
  'a raw disk in zstd that is declared': [
    async () => piped('zstd', ['-qc'], await imageBytes('raw')),
    'raw.zst',
  ],
  'a fixed VHD in xz': [async () => piped('xz', ['-0c'], await imageBytes('vhd', { subformat: 'fixed' }))],
};

for (const [name, [bytes, format]] of Object.entries(spooled)) {
  test(`${name} is put aside until its end is known`, async (context) => {
    assert.equal(await throughPipe(context, await bytes(), format), true);
  });
}

test('a raw disk of known length is read as it comes, when it is declared', async () => {
  const bytes = await imageBytes('raw');
  const source = () => forwardSource(inPieces(bytes), bytes.length, 'pipe');
  assert.equal(await diskDigest(await openDisk(source(), { references, format: 'raw' })), digest);
  await assert.rejects(openDisk(source(), { references }), { code: 'IMAGE_NOT_SEQUENTIAL' });
});

test('without a place to spool to, the same is refused', async () => {
  const source = await openEndedSource(inPieces(await imageBytes('raw')), 'pipe');
  await assert.rejects(openDisk(source, { references, format: 'raw' }), { code: 'IMAGE_NOT_SEQUENTIAL' });
});

test('an image that is cut in a pipe is truncated, never a shorter disk', async (context) => {
  const folder = await testFolder(context);
  for (const [name, bytes] of Object.entries(forward)) {
    const whole = await bytes();
    for (const cut of [100, 600, whole.length >> 2, whole.length >> 1]) {
      const read = async () => {
        const source = await openEndedSource(inPieces(whole.subarray(0, cut)), 'pipe');
        const disk = await openDisk(source, { references, spool: spoolInto(folder) });
        if (disk.format === 'raw') return;
        assert.equal(await diskDigest(disk), digest);
        await disk.drain?.();
        await source.drain?.();
        assert.fail('a cut image was taken for whole');
      };
      // What is left of a header may carry no mark any more: then it is a raw disk, as every such file is.
      const error = await read().catch((thrown) => thrown);
      if (error === undefined) assert.ok(cut < 1000, `${name} cut at ${cut}`);
      else
        assert.match(
          String(error.code),
          /^IMAGE_(TRUNCATED|MALFORMED|UNSUPPORTED)$/,
          `${name} cut at ${cut}: ${error}`,
        );
    }
  }
});

test('a spooled file keeps holes as holes and has no name', async (context) => {
  const folder = await testFolder(context);
  const disk = patternDisk(size, runs);
  const bytes = await diskBytes(disk);
  const source = await spooledSource(inPieces(bytes, 1_000_003), folder, 'pipe');
  assert.deepEqual(await readdir(folder), []);
  assert.equal(source.lengthBytes, size);
  const read = new Uint8Array(size);
  await source.read(0, read);
  assertSameBytes(read, bytes);
  await source.close();
  const failing = async function* (): AsyncGenerator<Uint8Array> {
    yield new Uint8Array(10);
    throw new Error('the sender went away');
  };
  await assert.rejects(spooledSource(failing(), folder, 'pipe'), /went away/);
  assert.deepEqual(await readdir(folder), []);
});
