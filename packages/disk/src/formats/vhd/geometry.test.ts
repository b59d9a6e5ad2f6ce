import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { viewOf } from '../../bytes/fields.ts';
import { GIB, MIB } from '../../bytes/numbers.ts';
import { testFolder, tool } from '../images.testkit.ts';
import { geometryOf } from './geometry.ts';

test('geometries are those that qemu-img computes for the sizes that they name', async (t) => {
  const folder = await testFolder(t);
  const path = join(folder, 'geometry.vhd');
  for (const sizeBytes of [
    MIB,
    5 * MIB,
    34 * MIB,
    100 * MIB,
    503 * MIB,
    600 * MIB,
    GIB,
    8 * GIB,
    40 * GIB,
    126 * GIB,
  ]) {
    // Without force_size, qemu-img takes the smallest disk of a whole geometry that is large enough.
    await tool('qemu-img', 'create', '-q', '-f', 'vpc', path, `${sizeBytes}`);
    const view = viewOf(await readFile(path));
    const cylinders = view.getUint16(56);
    const heads = view.getUint8(58);
    const sectorsPerTrack = view.getUint8(59);
    assert.deepEqual(geometryOf(cylinders * heads * sectorsPerTrack), { cylinders, heads, sectorsPerTrack });
  }
});

test('a disk beyond the largest geometry gets the largest', () => {
  const largest = { cylinders: 65535, heads: 16, sectorsPerTrack: 255 };
  assert.deepEqual(geometryOf(65535 * 16 * 255), largest);
  assert.deepEqual(geometryOf(2 ** 33), largest);
});

test('a geometry never names more sectors than the disk has, and fits its fields', () => {
  for (let sectors = 68; sectors < 2 ** 33; sectors = Math.floor(sectors * 1.01) + 1) {
    const { cylinders, heads, sectorsPerTrack } = geometryOf(sectors);
    assert.ok(cylinders >= 1 && cylinders <= 65535 && heads >= 4 && heads <= 16, `${sectors} sectors`);
    assert.ok(cylinders * heads * sectorsPerTrack <= sectors, `${sectors} sectors`);
  }
});
