import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MIB } from '../../bytes/numbers.ts';
import { diskBytes, layoutBytes, patternDisk, planLayout } from '../images.testkit.ts';
import { assertArrivesAs, readArriving } from '../sequential.testkit.ts';
import { vdi } from './format.ts';
import { FREE, guestBytes, oldVdiFile, vdiFile, ZERO } from './vdi.testkit.ts';

const BLOCK = 128 * 1024;

test('an image whose blocks are in order arrives front to back', async () => {
  const map = [0, 1, FREE, 2, ZERO, 3, 4, FREE, 5, 6, 7];
  const limits = { headBytes: 4096, windowBytes: 3 * BLOCK };
  const expected = guestBytes(map, BLOCK, map.length * BLOCK);
  await assertArrivesAs(vdi, vdiFile({ map }), expected, limits);
  await assertArrivesAs(vdi, vdiFile({ map, cbBlockExtra: 512 }), expected, limits);
  await assertArrivesAs(vdi, oldVdiFile({ map }), expected, limits);
  const mixed = vdiFile({ map: [7, 1, 2, 3, 4, 5, 6, 0] });
  await assert.rejects(readArriving(vdi, mixed, limits), { code: 'IMAGE_NOT_SEQUENTIAL' });
});

test('what we write arrives too', async () => {
  const disk = patternDisk(9 * MIB + 512, [
    [700_000, MIB],
    [4 * MIB, 100],
    [9 * MIB, 512],
  ]);
  for (const subformat of ['dynamic', 'fixed']) {
    const file = await layoutBytes(await planLayout(vdi, disk, { subformat }), disk);
    await assertArrivesAs(vdi, file, await diskBytes(disk), { headBytes: 2 * MIB, windowBytes: 2 * MIB });
  }
});
