import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { GIB, TIB } from '../bytes/numbers.ts';
import type { Format } from './format.ts';
import { patternDisk } from './images.testkit.ts';
import { assertPlacementHolds, sparseDisks } from './placement.testkit.ts';
import { raw } from './raw/format.ts';
import { vdi } from './vdi/format.ts';
import { vhd } from './vhd/format.ts';

const forms: readonly (readonly [name: string, format: Format, options: Readonly<Record<string, string>>])[] =
  [
    ['raw', raw, {}],
    ['VDI', vdi, { subformat: 'dynamic' }],
    ['VDI fixed', vdi, { subformat: 'fixed' }],
    ['VHD', vhd, { subformat: 'dynamic' }],
    ['VHD of whole MiB', vhd, { subformat: 'dynamic', size_alignment: '1M' }],
    ['VHD fixed', vhd, { subformat: 'fixed' }],
  ];

for (const [name, format, options] of forms) {
  test(`every block of a ${name} stands where its placement says`, async () => {
    await fc.assert(
      fc.asyncProperty(sparseDisks(3 * GIB), (disk) => assertPlacementHolds(format, disk, options)),
      { numRuns: 30 },
    );
    const large = patternDisk(TIB, [
      [5 * GIB, 100],
      [700 * GIB - 7, 3_000_000],
      [TIB - 512, 512],
    ]);
    await assertPlacementHolds(format, large, options);
  });

  test(`the placement of a ${name} refuses the disks that its plan refuses`, async () => {
    const request = { options, seed: new Uint8Array(32), baseName: 'disk' };
    await assert.rejects(async () => format.placement?.(2 ** 48 + 1, request), { code: 'IMAGE_LIMIT' });
    if (format === raw) return;
    await assert.rejects(async () => format.placement?.(0, request), { code: 'IMAGE_LIMIT' });
    const unknown = { ...request, options: { subformat: 'sparse' } };
    await assert.rejects(async () => format.placement?.(GIB, unknown), { code: 'IMAGE_OPTION' });
  });
}
