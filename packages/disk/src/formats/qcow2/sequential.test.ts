import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { diskDigest } from '../../disk/digest.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import { forwardSource } from '../../io/forward.ts';
import { memorySource } from '../../io/memory.ts';
import { layoutBytes, planLayout, recordingSource, testFolder, tool } from '../images.testkit.ts';
import { rawDisk } from '../raw/format.ts';
import { qcow2 } from './format.ts';
import { inFolder } from './qcow2.testkit.ts';

const MIB = 2 ** 20;

/** More than an arriving source keeps, without a cluster of zeros. */
function longBytes(): Uint8Array {
  const bytes = new Uint8Array(80 * MIB);
  const words = new Uint32Array(bytes.buffer);
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + 1, 2_654_435_761);
  return bytes;
}

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 100_000) yield bytes.subarray(at, at + 100_000);
}

async function arrivingDigest(image: Uint8Array): Promise<string> {
  const source = forwardSource(pieces(image), image.length, 'upload');
  const sequential = Object.defineProperty(source, 'sequential', { value: true });
  const disk = await qcow2.open(sequential, { references: denyReferences });
  try {
    assert.equal(disk.sequential, true);
    return await diskDigest(disk);
  } finally {
    await disk.close();
    await source.close();
  }
}

test('images of qemu and of ours are decoded while they arrive', async (context) => {
  const at = inFolder(await testFolder(context));
  const bytes = longBytes();
  const disk = rawDisk(memorySource(bytes));
  const expected = await diskDigest(disk);
  await writeFile(at('a.raw'), bytes);
  const convert = [
    'convert',
    '-f',
    'raw',
    '-O',
    'qcow2',
    '-o',
    'cluster_size=4k',
    at('a.raw'),
    at('a.qcow2'),
  ];
  await tool('qemu-img', ...convert);
  assert.equal(await arrivingDigest(await readFile(at('a.qcow2'))), expected);
  assert.equal(await arrivingDigest(await layoutBytes(await planLayout(qcow2, disk), disk)), expected);
});

test('an image whose tables stand behind their data is refused while it arrives', async () => {
  const disk = rawDisk(memorySource(longBytes()));
  const image = Buffer.from(await layoutBytes(await planLayout(qcow2, disk), disk));
  // The one L2 table, moved to the end.
  const l2 = image.subarray(2 * 65536, 3 * 65536);
  const moved = Buffer.concat([image, l2]);
  moved.writeBigUInt64BE(BigInt(image.length) | (1n << 63n), 65536);
  await assert.rejects(arrivingDigest(moved), { code: 'IMAGE_NOT_SEQUENTIAL' });
});

test('small reads of one compressed cluster fetch it once', async (context) => {
  const at = inFolder(await testFolder(context));
  const bytes = new Uint8Array(4 * MIB).map((_, i) => (i >> 9) % 251);
  await writeFile(at('a.raw'), bytes);
  await tool(
    'qemu-img',
    'convert',
    '-c',
    '-f',
    'raw',
    '-O',
    'qcow2',
    '-o',
    'cluster_size=2M',
    at('a.raw'),
    at('a'),
  );
  const source = recordingSource(await readFile(at('a')));
  const disk = await qcow2.open(source, { references: denyReferences });
  const part = new Uint8Array(4096);
  await disk.read(0, part);
  const readCount = source.reads.length;
  for (let offset = 4096; offset < 2 * MIB; offset += 4096) {
    await disk.read(offset, part);
    assert.deepEqual(part, bytes.subarray(offset, offset + 4096));
  }
  assert.equal(source.reads.length, readCount);
});
