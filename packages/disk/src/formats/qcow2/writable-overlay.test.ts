import assert from 'node:assert/strict';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { diskDigest } from '../../disk/digest.ts';
import type { Disk } from '../../disk/disk.ts';
import { suppliedReferences } from '../../disk/reference-gate.ts';
import type { WritableDisk } from '../../disk/writable-disk.ts';
import { StoreError } from '../../errors.ts';
import { memorySource } from '../../io/memory.ts';
import { fileSource } from '../../io/node-file.ts';
import type { WritableFile } from '../../io/writable-file.ts';
import {
  assertExtentsTellTheTruth,
  assertSameBytes,
  diskBytes,
  patternDisk,
  testFolder,
  tool,
  writeRaw,
} from '../images.testkit.ts';
import { qcow2 } from './format.ts';
import { readHeader } from './header.ts';
import { OverlayDisk } from './overlay-disk.ts';
import { createOverlay, openOverlay } from './overlay-file.ts';
import { OverlayTables } from './overlay-tables.ts';

const KIB = 1024;
const MIB = 2 ** 20;
const CLUSTER_BYTES = 64 * KIB;
const SIZE_BYTES = 3 * MIB + 512;
const RUNS = [
  [1000, 300_000],
  [MIB, 100_000],
  [SIZE_BYTES - 70_000, 70_000],
] as const;
const DIGEST = 'disk1:of the base';

const base = () => patternDisk(SIZE_BYTES, RUNS);

interface Op {
  readonly kind: 'write' | 'zeros' | 'allocated zeros' | 'discard' | 'flush';
  readonly at: number;
  readonly length: number;
  readonly byte: number;
}

const ops = fc.array(
  fc
    .record({
      kind: fc.constantFrom<Op['kind']>('write', 'write', 'zeros', 'allocated zeros', 'discard', 'flush'),
      at: fc.oneof(
        fc.nat(SIZE_BYTES),
        fc.nat(Math.floor(SIZE_BYTES / CLUSTER_BYTES)).map((i) => i * CLUSTER_BYTES),
      ),
      length: fc.oneof(fc.nat(5000), fc.nat(400_000), fc.constant(CLUSTER_BYTES * 2)),
      byte: fc.integer({ min: 1, max: 255 }),
    })
    .map((op) => ({ ...op, length: Math.min(op.length, SIZE_BYTES - Math.min(op.at, SIZE_BYTES)) })),
  { minLength: 1, maxLength: 15 },
);

/** Does it to the disk and to the bytes that it should then have. */
async function apply(disk: WritableDisk, bytes: Uint8Array, { kind, at, length, byte }: Op): Promise<void> {
  switch (kind) {
    case 'write':
      await disk.write(at, new Uint8Array(length).fill(byte));
      bytes.fill(byte, at, at + length);
      break;
    case 'zeros':
    case 'allocated zeros':
      await disk.writeZeros(at, length, { allocated: kind !== 'zeros' });
      bytes.fill(0, at, at + length);
      break;
    case 'discard': {
      await disk.discard(at, length);
      const from = Math.ceil(at / CLUSTER_BYTES) * CLUSTER_BYTES;
      const end = at + length;
      const to = end === SIZE_BYTES ? end : Math.floor(end / CLUSTER_BYTES) * CLUSTER_BYTES;
      if (to > from) bytes.fill(0, from, to);
      break;
    }
    case 'flush':
      await disk.flush();
  }
}

async function overlayFile(context: TestContext, disk: Disk = base()): Promise<string> {
  const folder = await testFolder(context);
  const path = join(folder, 'overlay.qcow2');
  const backing = { name: 'base.raw', format: 'raw' };
  // qemu-img opens it to check the overlay.
  await writeRaw(join(folder, backing.name), disk.virtualSizeBytes, []);
  await createOverlay(path, disk, { digest: DIGEST, backing });
  return path;
}

test('an overlay holds what was written, for us and for qemu-img, also when it is opened again', async (context) => {
  const folder = await testFolder(context);
  await writeRaw(join(folder, 'base.raw'), SIZE_BYTES, RUNS);
  const want = join(folder, 'want.raw');
  await fc.assert(
    fc.asyncProperty(ops, ops, async (first, second) => {
      const path = join(folder, 'overlay.qcow2');
      await createOverlay(path, base(), { digest: DIGEST, backing: { name: 'base.raw', format: 'raw' } });
      const bytes = await diskBytes(base());
      for (const part of [first, second]) {
        const disk = await openOverlay(path, base(), DIGEST);
        assertSameBytes(await diskBytes(disk), bytes);
        for (const op of part) await apply(disk, bytes, op);
        assertSameBytes(await diskBytes(disk), bytes);
        await assertExtentsTellTheTruth(disk);
        await disk.close();
        assert.match(await tool('qemu-img', 'check', path), /No errors were found/);
      }
      await writeFile(want, bytes);
      assert.match(await tool('qemu-img', 'compare', path, want), /identical/);
      const supplied = new Map([
        ['base.raw', async () => ({ source: await fileSource(join(folder, 'base.raw')) })],
      ]);
      const source = await fileSource(path);
      const disk = await qcow2.open(source, { references: suppliedReferences(supplied) });
      assertSameBytes((await diskBytes(disk)).subarray(0, SIZE_BYTES), bytes);
      await disk.close();
      await source.close();
    }),
    { numRuns: 8 },
  );
});

test('many writes at the same time do not get into each other', async (context) => {
  const path = await overlayFile(context);
  const bytes = await diskBytes(base());
  const disk = await openOverlay(path, base(), DIGEST);
  const pieces = Array.from({ length: SIZE_BYTES / 512 }, (_, i) => i * 512);
  await Promise.all(
    pieces.map(async (at, i) => {
      bytes.fill(1 + (i % 250), at, at + 512);
      await disk.write(at, new Uint8Array(512).fill(1 + (i % 250)));
      if (i % 1000 === 0) await disk.flush();
    }),
  );
  assertSameBytes(await diskBytes(disk), bytes);
  await disk.close();
  assert.match(await tool('qemu-img', 'check', path), /No errors were found/);
});

/** A file of which, when the power goes, only what was synced is there for sure. */
class FragileFile implements WritableFile {
  readonly name = 'fragile';
  bytes: Uint8Array;
  roomBytes = Number.POSITIVE_INFINITY;
  #durable: Uint8Array;
  #since: { readonly offsetBytes: number; readonly bytes: Uint8Array }[] = [];

  constructor(bytes: Uint8Array) {
    this.bytes = bytes.slice();
    this.#durable = bytes.slice();
  }

  /** With some of what was written since. */
  afterPowerCut(isThere: (index: number) => boolean): Uint8Array {
    let found: Uint8Array = this.#durable.slice();
    this.#since.forEach((write, index) => {
      if (isThere(index)) found = withWrite(found, write.offsetBytes, write.bytes);
    });
    return found;
  }

  async lengthBytes(): Promise<number> {
    return this.bytes.length;
  }

  async read(offsetBytes: number, into: Uint8Array): Promise<void> {
    assert.ok(offsetBytes + into.length <= this.bytes.length, 'reads stay in the file');
    into.set(this.bytes.subarray(offsetBytes, offsetBytes + into.length));
  }

  async write(offsetBytes: number, bytes: Uint8Array): Promise<void> {
    if (offsetBytes + bytes.length > this.roomBytes) {
      throw new StoreError('STORE_FULL', 'no room', { where: this.name });
    }
    this.#since.push({ offsetBytes, bytes: bytes.slice() });
    this.bytes = withWrite(this.bytes, offsetBytes, bytes);
  }

  async sync(): Promise<void> {
    this.#durable = this.bytes.slice();
    this.#since = [];
  }

  async close(): Promise<void> {}
}

function withWrite(bytes: Uint8Array, offsetBytes: number, written: Uint8Array): Uint8Array {
  let grown = bytes;
  if (offsetBytes + written.length > bytes.length) {
    grown = new Uint8Array(offsetBytes + written.length);
    grown.set(bytes);
  }
  grown.set(written, offsetBytes);
  return grown;
}

async function openFragile(file: WritableFile, front: Uint8Array): Promise<OverlayDisk> {
  const header = await readHeader(memorySource(front.slice(0, CLUSTER_BYTES)));
  return new OverlayDisk(base(), file, await OverlayTables.open(file, header));
}

test('after a power cut everything is as it was flushed, but for what was written since', async (context) => {
  const empty = new Uint8Array(await readFile(await overlayFile(context)));
  await fc.assert(
    fc.asyncProperty(ops, fc.infiniteStream(fc.boolean()), async (done, coins) => {
      const file = new FragileFile(empty);
      const disk = await openFragile(file, empty);
      const bytes = await diskBytes(base());
      let flushed = bytes.slice();
      let touched = new Uint8Array(SIZE_BYTES);
      for (const op of done) {
        await apply(disk, bytes, op);
        if (op.kind === 'flush') {
          flushed = bytes.slice();
          touched = new Uint8Array(SIZE_BYTES);
        } else touched.fill(1, op.at, op.at + op.length);
      }
      const left = file.afterPowerCut(() => coins.next().value);
      const survivor = await openFragile(new FragileFile(left), left);
      const found = await diskBytes(survivor);
      for (let at = 0; at < SIZE_BYTES; at++) if (touched[at] === 1) found[at] = flushed[at] ?? 0;
      assertSameBytes(found, flushed);
      // And it can be written on.
      await survivor.write(100, new Uint8Array(200_000).fill(7));
      await survivor.close();
    }),
    { numRuns: 60 },
  );
});

test('what a power cut leaves is no damage to qemu-img', async (context) => {
  const path = await overlayFile(context);
  const empty = new Uint8Array(await readFile(path));
  const file = new FragileFile(empty);
  const disk = await openFragile(file, empty);
  await disk.write(5000, new Uint8Array(500_000).fill(1));
  await disk.flush();
  await disk.write(2 * MIB, new Uint8Array(500_000).fill(2));
  for (const keep of [() => false, () => true, (index: number) => index % 2 === 0]) {
    await writeFile(path, file.afterPowerCut(keep));
    const { code = 0 } = await tool('qemu-img', 'check', path).then(
      () => ({ code: 0 }),
      (error) => error as { code: number },
    );
    // 3 says that clusters are leaked, 2 that something is damaged.
    assert.ok(code === 0 || code === 3, `qemu-img check ended with ${code}`);
  }
});

test('a full disk fails the write that finds no room, and no other', async (context) => {
  const empty = new Uint8Array(await readFile(await overlayFile(context)));
  const file = new FragileFile(empty);
  const disk = await openFragile(file, empty);
  await disk.write(0, new Uint8Array(100_000).fill(1));
  const bytes = await diskBytes(disk);
  file.roomBytes = file.bytes.length + 1000;
  await assert.rejects(disk.write(2 * MIB, new Uint8Array(200_000).fill(2)), { code: 'STORE_FULL' });
  assertSameBytes(await diskBytes(disk), bytes);
  await disk.write(50_000, new Uint8Array(10).fill(3));
  bytes.fill(3, 50_000, 50_010);
  await disk.flush();
  file.roomBytes = Number.POSITIVE_INFINITY;
  await disk.write(2 * MIB, new Uint8Array(200_000).fill(4));
  bytes.fill(4, 2 * MIB, 2 * MIB + 200_000);
  assertSameBytes(await diskBytes(disk), bytes);
  await disk.close();
});

test('a sync that fails is the end of writing', async (context) => {
  const empty = new Uint8Array(await readFile(await overlayFile(context)));
  const file = new FragileFile(empty);
  const disk = await openFragile(file, empty);
  await disk.write(0, new Uint8Array(100_000).fill(1));
  const broken = new StoreError('STORE_IO', 'a bad disk', { where: 'fragile' });
  file.sync = () => Promise.reject(broken);
  await assert.rejects(disk.flush(), broken);
  await assert.rejects(disk.flush(), broken);
  await assert.rejects(disk.write(MIB, new Uint8Array(100)), broken);
});

test('more tables than are kept in memory, and more clusters than one refcount block counts', async (context) => {
  const sizeBytes = 140 * 512 * MIB;
  const disk = patternDisk(sizeBytes, [[512 * MIB, 10_000]]);
  const path = await overlayFile(context, disk);
  // The next cluster is one of the last that the first block counts.
  await truncate(path, 32_766 * CLUSTER_BYTES);
  const overlay = await openOverlay(path, disk, DIGEST);
  const places = Array.from({ length: 140 }, (_, i) => i * 512 * MIB + 1000);
  for (const [i, at] of places.entries()) await overlay.write(at, new Uint8Array(3).fill(i + 1));
  const byte = new Uint8Array(1);
  for (const [i, at] of places.entries()) {
    await overlay.read(at, byte);
    assert.equal(byte[0], i + 1);
  }
  await overlay.close();
  assert.match(await tool('qemu-img', 'check', path), /No errors were found/);
  const again = await openOverlay(path, disk, DIGEST);
  for (const [i, at] of places.entries()) {
    await again.read(at + 2, byte);
    assert.equal(byte[0], i + 1);
  }
  await again.close();
});

test('zeros over what is zero already take no room, however many they are', async (context) => {
  const sizeBytes = 8 * 2 ** 40;
  const disk = patternDisk(sizeBytes, [[2 ** 40, 10_000]]);
  const path = await overlayFile(context, disk);
  const before = (await readFile(path)).length;
  const overlay = await openOverlay(path, disk, DIGEST);
  await overlay.writeZeros(0, sizeBytes);
  await overlay.close();
  // One L2 table for the one cluster that was not zero.
  assert.equal((await readFile(path)).length, before + CLUSTER_BYTES);
});

test('an overlay of another disk, of another program or changed by one is refused', async (context) => {
  const path = await overlayFile(context);
  const refused = { code: 'STORE_REFUSED' };
  await assert.rejects(openOverlay(path, base(), 'disk1:of another'), refused);
  await assert.rejects(openOverlay(path, patternDisk(SIZE_BYTES + 512, []), DIGEST), refused);
  const folder = await testFolder(context);
  const other = join(folder, 'other.qcow2');
  await tool('qemu-img', 'create', '-q', '-f', 'qcow2', other, String(SIZE_BYTES));
  await assert.rejects(openOverlay(other, base(), DIGEST), refused);
  await assert.rejects(openOverlay(join(folder, 'none'), base(), DIGEST), { code: 'STORE_NOT_FOUND' });
  const raw = join(folder, 'raw');
  await writeFile(raw, new Uint8Array(1000));
  await assert.rejects(openOverlay(raw, base(), DIGEST), { code: 'IMAGE_MALFORMED' });
  await tool('qemu-img', 'snapshot', '-c', 'one', path);
  await assert.rejects(openOverlay(path, base(), DIGEST), refused);
});

test('the digest of a written overlay is that of the disk it shows', async (context) => {
  const disk = await openOverlay(await overlayFile(context), base(), DIGEST);
  await disk.write(0, new Uint8Array(100).fill(9));
  const bytes = await diskBytes(disk);
  const plain: Disk = { ...base(), read: async (at, into) => into.set(bytes.subarray(at, at + into.length)) };
  assert.equal(await diskDigest(disk), await diskDigest({ ...plain, extents: disk.extents.bind(disk) }));
  await disk.close();
});
