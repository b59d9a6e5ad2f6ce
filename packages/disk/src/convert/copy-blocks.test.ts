import assert from 'node:assert/strict';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Disk } from '../disk/disk.ts';
import { denyReferences } from '../disk/reference-gate.ts';
import { assertSameBytes, testFolder, tool } from '../formats/images.testkit.ts';
import { openDisk } from '../formats/open.ts';
import { memorySink, memorySource } from '../io/memory.ts';
import { fileSink, fileSource } from '../io/node-file.ts';
import { viewOfLayout } from '../view/view.ts';
import { convert, planImage } from './convert.ts';

const MIB = 2 ** 20;
const seed = new Uint8Array(32);

const forms = [
  { format: 'raw' },
  { format: 'qcow' },
  { format: 'qcow2' },
  { format: 'qcow2', options: { cluster_size: '4096' } },
  { format: 'qcow2', options: { extended_l2: 'on' } },
  { format: 'vdi' },
  { format: 'vdi', options: { subformat: 'fixed' } },
  { format: 'vhd' },
  { format: 'vhd', options: { subformat: 'fixed' } },
  { format: 'vhdx' },
  { format: 'vhdx', options: { block_size: String(32 * MIB) } },
  { format: 'vhdx', options: { subformat: 'fixed' } },
  { format: 'vmdk' },
  { format: 'oci' },
] as const;

/** Runs of text, noise and zeros, each some units or less than one; length in bytes. */
const contents = fc
  .array(fc.tuple(fc.constantFrom('zeros', 'text', 'noise'), fc.integer({ min: 1, max: 700_000 })), {
    minLength: 1,
    maxLength: 12,
  })
  .map((runs) => {
    const parts = runs.map(([kind, length], i) =>
      Buffer.from(Uint8Array.from({ length }, (_, at) => byteOf(kind, at, i))),
    );
    const bytes = Buffer.concat(parts);
    return Buffer.concat([bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
  });

function byteOf(kind: string, at: number, run: number): number {
  if (kind === 'zeros') return 0;
  return kind === 'text' ? 97 + ((at >> 4) % 20) : Math.imul(at + 1, 2_654_435_761 + run) >>> 24;
}

async function viewed(disk: Disk, form: (typeof forms)[number], bytes: Uint8Array): Promise<Uint8Array> {
  // The view of a disk whose zeros are known: blocks that hold nothing are holes.
  const known: Disk = {
    ...disk,
    async *extents(from, to) {
      for (let at = from; at < to; at += 512) {
        const isData = bytes.subarray(at, at + 512).some((byte) => byte !== 0);
        yield { offsetBytes: at, lengthBytes: Math.min(512, to - at), kind: isData ? 'data' : 'hole' };
      }
    },
  };
  const layout = await planImage(known, { ...form, seed });
  assert.ok(layout.kind === 'layout');
  const view = viewOfLayout(layout, disk);
  const all = new Uint8Array(view.lengthBytes);
  await view.read(0, all);
  return all;
}

test('one pass writes what the view shows, into files and into memory, from files and from memory', async (context) => {
  const folder = await testFolder(context);
  await fc.assert(
    fc.asyncProperty(contents, fc.constantFrom(...forms), async (bytes, form) => {
      const path = join(folder, 'source.raw');
      await writeFile(path, bytes);
      const file = await fileSource(path);
      const fromFile = await openDisk(file, { format: 'raw', references: denyReferences });
      const fromMemory = await openDisk(memorySource(bytes), { format: 'raw', references: denyReferences });
      const expected = await viewed(fromMemory, form, bytes);
      for (const disk of [fromFile, fromMemory]) {
        const sink = memorySink();
        await convert(disk, sink, { ...form, seed });
        assertSameBytes(sink.bytes(), expected);
        const target = join(folder, 'target');
        const lengthBytes = await convert(disk, await fileSink(target), { ...form, seed });
        const written = await fileSource(target);
        assert.equal(written.lengthBytes, lengthBytes);
        const all = new Uint8Array(lengthBytes);
        await written.read(0, all);
        await written.close();
        assertSameBytes(all, expected);
      }
      await file.close();
    }),
    { numRuns: 60 },
  );
});

test('a conversion that is stopped on the way ends with the reason and leaves nothing', async (context) => {
  const folder = await testFolder(context);
  const path = join(folder, 'source.raw');
  await writeFile(path, Buffer.alloc(64 * MIB, 'gantry'));
  const source = await fileSource(path);
  const disk = await openDisk(source, { format: 'raw', references: denyReferences });
  const target = join(folder, 'target');
  for (const { format } of forms) {
    const stopping = new AbortController();
    const onProgress = ({ doneBytes }: { doneBytes: number }) => {
      if (doneBytes > 20 * MIB) stopping.abort(new Error('enough'));
    };
    const run = convert(disk, await fileSink(target), { format, signal: stopping.signal, onProgress });
    await assert.rejects(run, /enough/);
    await assert.rejects(fileSource(target), { code: 'STORE_NOT_FOUND' });
  }
  await source.close();
});

test('a source that becomes shorter meanwhile is STORE_CHANGED', async (context) => {
  const folder = await testFolder(context);
  const path = join(folder, 'source.raw');
  await writeFile(path, Buffer.alloc(48 * MIB, 'gantry'));
  const source = await fileSource(path);
  const disk = await openDisk(source, { format: 'raw', references: denyReferences });
  await truncate(path, 40 * MIB);
  const run = convert(disk, await fileSink(join(folder, 'target')), { format: 'qcow2' });
  await assert.rejects(run, { code: 'STORE_CHANGED' });
  await source.close();
});

test('a damaged compressed cluster is IMAGE_MALFORMED on every way out', async (context) => {
  const folder = await testFolder(context);
  const raw = join(folder, 'source.raw');
  const path = join(folder, 'source.qcow2');
  await writeFile(raw, Buffer.alloc(40 * MIB, 'gantry moves machines. '));
  await tool('qemu-img', 'convert', '-c', '-f', 'raw', '-O', 'qcow2', raw, path);
  const whole = await fileSource(path);
  const bytes = Buffer.alloc(whole.lengthBytes);
  await whole.read(0, bytes);
  await whole.close();
  // The clusters are all alike and short; most of the file is them.
  bytes.fill(0xff, bytes.length - 4096, bytes.length - 2048);
  await writeFile(path, bytes);
  const source = await fileSource(path);
  const disk = await openDisk(source, { format: 'qcow2', references: denyReferences });
  for (const [format, compression] of [
    ['raw', undefined],
    ['vdi', undefined],
    ['qcow2', 'zlib'],
    ['qcow2', 'zstd'],
    ['vmdk', 'zlib'],
  ] as const) {
    const run = convert(disk, await fileSink(join(folder, 'target')), { format, compression });
    await assert.rejects(run, { code: 'IMAGE_MALFORMED' }, `${format} ${compression}`);
  }
  await disk.close();
  await source.close();
});
