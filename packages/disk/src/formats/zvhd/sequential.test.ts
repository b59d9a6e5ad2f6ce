import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { denyReferences } from '../../disk/reference-gate.ts';
import { openEndedSource } from '../../io/forward.ts';
import { assertSameBytes, diskBytes, openBytes } from '../images.testkit.ts';
import { assertArrivesAs, readArriving } from '../sequential.testkit.ts';
import { zvhd, zvhd2 } from './format.ts';
import { BLOCK_BYTES, blockContent, continuousPayloads, guestBytes, zvhdFile } from './zvhd.testkit.ts';

/** Records of the testkit have about 64 KiB. */
const limits = { headBytes: 8192, windowBytes: 4 * BLOCK_BYTES };
const narrow = { headBytes: 8192, windowBytes: 700_000 };

for (const format of [zvhd, zvhd2]) {
  test(`a ${format.title} of the reference driver arrives front to back`, async () => {
    const packed = await readFile(new URL(`golden/ref-small.${format.name}.gz`, import.meta.url));
    const file = new Uint8Array(gunzipSync(packed));
    await assertArrivesAs(format, file, await diskBytes(await openBytes(format, file)), narrow);
  });
}

test('every form arrives, one continuous stream too', async () => {
  const blocks = Array.from({ length: 15 }, (_, i) => 2 * i);
  const origSize = BigInt(30 * BLOCK_BYTES);
  const payloads = await continuousPayloads(blocks.map((block) => blockContent(block)));
  const records = blocks.map((block, i) => ({ block, payload: payloads[i] ?? new Uint8Array(0) }));
  const file = zvhdFile({ kind: 'zvhd', origSize, records });
  await assertArrivesAs(zvhd, file, guestBytes(blocks, 30 * BLOCK_BYTES), narrow);
  const small = guestBytes([0, 2], 4 * BLOCK_BYTES);
  await assertArrivesAs(zvhd, zvhdFile({ kind: 'zvhd' }), small, narrow);
  await assertArrivesAs(zvhd2, zvhdFile(), small, narrow);
  await assertArrivesAs(zvhd2, zvhdFile({ method: 0 }), small, narrow);
  await assertArrivesAs(zvhd2, zvhdFile({ hasZeroEntries: true }), small, narrow);
});

test('a pipe whose length nobody said is read to its end, and no further', async () => {
  async function* pipe(...parts: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
    for (const part of parts)
      for (let at = 0; at < part.length; at += 50_000) yield part.subarray(at, at + 50_000);
  }
  const read = async (format: typeof zvhd, ...parts: readonly Uint8Array[]) => {
    const source = await openEndedSource(pipe(...parts), 'pipe');
    const disk = await format.open(source, { references: denyReferences });
    const content = await diskBytes(disk);
    await disk.drain?.();
    return content;
  };
  const expected = guestBytes([0, 2], 4 * BLOCK_BYTES);
  for (const [format, file] of [
    [zvhd, zvhdFile({ kind: 'zvhd' })],
    [zvhd2, zvhdFile()],
  ] as const) {
    assertSameBytes(await read(format, file), expected);
    const more = new Uint8Array(300_000);
    await assert.rejects(read(format, file, more), ({ code }) => /^IMAGE_(MALFORMED|TRUNCATED)$/.test(code));
    await assert.rejects(read(format, file.subarray(0, -4096)), { code: 'IMAGE_TRUNCATED' });
  }
});

test('a file that is cut, or whose index names other records, is refused when its end arrives', async () => {
  for (const kind of ['zvhd', 'zvhd2'] as const) {
    const format = kind === 'zvhd' ? zvhd : zvhd2;
    const file = zvhdFile({ kind });
    await assert.rejects(readArriving(format, file.subarray(0, file.length - 4096), limits), {
      code: 'IMAGE_TRUNCATED',
    });
  }
  const others = [
    zvhdFile({ entries: { 1: { block: 3 } } }),
    zvhdFile({ last: { nonZeroBlocks: 1 } }),
    zvhdFile({ turnedBits: [1] }),
    zvhdFile({ last: { origSize: BigInt(3 * BLOCK_BYTES) } }),
  ];
  for (const file of others)
    await assert.rejects(readArriving(zvhd2, file, limits), { code: 'IMAGE_MALFORMED' });
});
