import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MIB } from '../../bytes/numbers.ts';
import type { Disk } from '../../disk/disk.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { forwardSource } from '../../io/forward.ts';
import { memorySource } from '../../io/memory.ts';
import { viewOfLayout } from '../../view/view.ts';
import { assertSameBytes, diskBytes, patternDisk, planLayout } from '../images.testkit.ts';
import { vhdx } from './format.ts';
import { guestBytes, LOG_GUID, logEntry, page, setLog, vhdxFile } from './vhdx.testkit.ts';

const references = denyReferences;

async function* arriving(source: ByteSource): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < source.lengthBytes; ) {
    const bytes = new Uint8Array(Math.min(300_000, source.lengthBytes - at));
    await source.read(at, bytes);
    yield bytes;
    at += bytes.length;
  }
}

const openArriving = (source: ByteSource) =>
  vhdx.open(forwardSource(arriving(source), source.lengthBytes, 'upload'), { references });

/** Reads as a conversion does: extents, then their bytes, forward only. */
async function forwardBytes(disk: Disk): Promise<Uint8Array> {
  const bytes = new Uint8Array(disk.virtualSizeBytes);
  for await (const { kind, offsetBytes, lengthBytes } of disk.extents(0, disk.virtualSizeBytes)) {
    if (kind !== 'data') continue;
    for (let at = offsetBytes; at < offsetBytes + lengthBytes; at += MIB) {
      await disk.read(at, bytes.subarray(at, Math.min(at + MIB, offsetBytes + lengthBytes)));
    }
  }
  return bytes;
}

test('our dynamic and fixed files are read while they arrive', async () => {
  const disk = patternDisk(50 * MIB + 512, [
    [MIB, 34 * MIB],
    [40 * MIB + 5, 100],
    [50 * MIB, 512],
  ]);
  const expected = await diskBytes(disk);
  for (const options of [{}, { subformat: 'fixed' }, { block_size: String(8 * MIB) }]) {
    const view = viewOfLayout(await planLayout(vhdx, disk, options), disk);
    const again = await openArriving(view);
    assert.equal(again.sequential, true);
    assertSameBytes(await forwardBytes(again), expected);
  }
});

test('a log at the front is replayed while the file arrives', async () => {
  const table = Array.from({ length: 40 }, (_, at) => ({ at }));
  const file = vhdxFile({ table, logGuid: LOG_GUID });
  const expected = guestBytes({ table });
  const writes = [{ page: 4 * MIB + 38 * MIB, bytes: page(9) }];
  expected.fill(9, 38 * MIB, 38 * MIB + 4096);
  setLog(file, [[0, logEntry({ sequence: 1n, tail: 0, writes })]]);
  assertSameBytes(await forwardBytes(await openArriving(memorySource(file))), expected);
});

test('blocks that stand out of order within the window are read while they arrive', async () => {
  const places = Array.from({ length: 60 }, (_, i) => (Math.floor(i / 6) + 1) * 6 - 1 - (i % 6));
  const table = places.map((at) => ({ at }));
  const disk = await openArriving(memorySource(vhdxFile({ table })));
  assertSameBytes(await forwardBytes(disk), guestBytes({ table }));
});

test('an image whose blocks are out of order is refused before its data arrives', async () => {
  const table = Array.from({ length: 80 }, (_, i) => ({ at: 79 - i }));
  await assert.rejects(openArriving(memorySource(vhdxFile({ table }))), { code: 'IMAGE_NOT_SEQUENTIAL' });
  const sound = await vhdx.open(memorySource(vhdxFile({ table })), { references });
  assertSameBytes(await diskBytes(sound), guestBytes({ table }), 'as a file it is read');
});

test('an image with a large gap between its blocks is refused before its data arrives', async () => {
  const table = [...Array.from({ length: 30 }, (_, at) => ({ at })), { at: 79 }];
  await assert.rejects(openArriving(memorySource(vhdxFile({ table }))), { code: 'IMAGE_NOT_SEQUENTIAL' });
});

test('an image whose table reaches out of the head is refused', async () => {
  const disk = patternDisk(8 * 2 ** 40, [[0, 512]]);
  const view = viewOfLayout(await planLayout(vhdx, disk, { block_size: String(2 * MIB) }), disk);
  await assert.rejects(openArriving(view), { code: 'IMAGE_NOT_SEQUENTIAL' });
});
