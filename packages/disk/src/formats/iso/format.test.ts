import assert from 'node:assert/strict';
import { test } from 'node:test';
import { viewOf } from '../../bytes/fields.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import { assertExtentsTellTheTruth, assertSameBytes, diskBytes, openBytes } from '../images.testkit.ts';
import { probeFormat } from '../probe.ts';
import { assertRunsTellTheTruth } from '../stored-runs.testkit.ts';
import { iso } from './format.ts';

/** The first descriptors of an image, by type, and as many bytes as given. */
function isoFile(types: readonly number[], lengthBytes = 60 * 2048 + 100, volumeBlocks = 60): Uint8Array {
  const bytes = new Uint8Array(lengthBytes).map((_, i) => (i < 512 || i > 50_000 ? i % 251 : 0));
  for (const [i, type] of types.entries()) {
    const at = 0x8000 + i * 2048;
    bytes[at] = type;
    bytes.set(Buffer.from('CD001\x01'), at + 1);
    bytes.set(Buffer.from('LINUX'.padEnd(32)), at + 8);
    bytes.set(Buffer.from('INSTALLER_1'.padEnd(32)), at + 40);
    const view = viewOf(bytes);
    view.setUint32(at + 80, volumeBlocks, true);
    view.setUint32(at + 84, volumeBlocks);
    view.setUint16(at + 128, 2048, true);
    view.setUint16(at + 130, 2048);
  }
  return bytes;
}

test('an image of a disc is known by its mark and is its bare bytes', async () => {
  for (const types of [
    [1, 255],
    [0, 2, 1, 255],
  ]) {
    const file = isoFile(types);
    assert.equal((await probeFormat(memorySource(file))).name, 'iso');
    const disk = await openBytes(iso, file);
    assert.equal(disk.format, 'iso');
    assert.deepEqual(disk.details, {
      volumeId: 'INSTALLER_1',
      systemId: 'LINUX',
      blockSizeBytes: 2048,
      volumeSizeBytes: 60 * 2048,
    });
    assert.deepEqual(disk.warnings, []);
    assertSameBytes(await diskBytes(disk), file);
    await assertExtentsTellTheTruth(disk);
    await assertRunsTellTheTruth(disk);
  }
});

test('an image with a partition table too is an image of a disc', async () => {
  const file = isoFile([1, 255]);
  file.set([0x55, 0xaa], 510);
  file.set(Buffer.from('EFI PART'), 512);
  assert.equal((await probeFormat(memorySource(file))).name, 'iso');
});

test('a file that is shorter than its volume is told, and so is one without a primary volume', async () => {
  for (const file of [isoFile([1, 255], 50 * 2048), isoFile([2, 255]), isoFile([0], 0x8800)]) {
    const disk = await openBytes(iso, file);
    assert.equal(disk.warnings.length, 1);
    assertSameBytes(await diskBytes(disk), file);
  }
});

test('descriptors without end are not followed for ever', async () => {
  const disk = await openBytes(iso, isoFile(new Array(100).fill(2), 0x8000 + 100 * 2048));
  assert.deepEqual(disk.details, {});
});

test('the end of an image that is still arriving is not asked for', async () => {
  const file = isoFile([1, 255]);
  const source = {
    ...memorySource(file),
    sequential: true,
    async read(offset: number, into: Uint8Array) {
      assert.ok(offset + into.length <= 0x9000);
      into.set(file.subarray(offset, offset + into.length));
    },
  };
  assert.equal((await iso.open(source, { references: denyReferences })).sequential, true);
});

test('a file without the mark is refused when it is declared to be one', async () => {
  await assert.rejects(openBytes(iso, new Uint8Array(9)), { code: 'IMAGE_TRUNCATED' });
  await assert.rejects(openBytes(iso, new Uint8Array(100_000)), { code: 'IMAGE_MALFORMED' });
});
