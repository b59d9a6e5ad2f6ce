import assert from 'node:assert/strict';
import { test } from 'node:test';
import zlib from 'node:zlib';
import type { Disk } from '../disk/disk.ts';
import { memorySource } from '../io/memory.ts';
import { storedUnits } from './stored-units.ts';

const UNIT = 16384;

/** A disk with one compressed unit at its end. */
function diskWithUnit(unit: number): { disk: Disk; packed: Uint8Array } {
  const packed = zlib.deflateRawSync(Buffer.alloc(UNIT, 'compressed'));
  const source = memorySource(packed);
  const virtualSizeBytes = (unit + 1) * UNIT;
  const disk: Disk = {
    format: 'qcow2',
    virtualSizeBytes,
    details: {},
    warnings: [],
    async *extents() {
      yield { kind: 'data', offsetBytes: 0, lengthBytes: virtualSizeBytes };
    },
    async *storedRuns() {
      yield { kind: 'hole', offsetBytes: 0, lengthBytes: unit * UNIT };
      const place = { source, sourceBytes: 0, storedBytes: packed.length };
      yield {
        kind: 'packed',
        offsetBytes: unit * UNIT,
        lengthBytes: UNIT,
        compression: 'deflate-raw',
        ...place,
      };
    },
    async read() {},
    async close() {},
  };
  return { disk, packed };
}

test('a unit is found wherever it stands on a disk of 32 TiB', async () => {
  for (const unit of [1, 2 ** 31 - 1, 2 ** 31]) {
    const { disk, packed } = diskWithUnit(unit);
    const form = { unitBytes: UNIT, compression: 'deflate-raw', takesPlain: true, limitBytes: UNIT } as const;
    const units = await storedUnits(disk, form);
    assert.equal(units?.map.usedCount, 1);
    assert.ok(units.map.has(unit));
    assert.equal(units.lengthOf(unit, 0), packed.length);
  }
});
