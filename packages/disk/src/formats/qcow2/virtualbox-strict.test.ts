// VirtualBox reads qcow2 by rules of its own (src/VBox/Storage/QCOW.cpp): it refuses every incompatible
// feature and internal snapshots, reads whole clusters of tables, and takes a zero flag for an offset of 0.
// These are its rules, checked on what we write, without our own reader.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import zlib from 'node:zlib';
import fc from 'fast-check';
import { convert } from '../../convert/convert.ts';
import { memorySink } from '../../io/memory.ts';
import { assertSameBytes } from '../images.testkit.ts';
import { contentDisk, contents } from './qcow2.testkit.ts';

interface Table {
  readonly offset: number;
  readonly entryCount: number;
}

interface Header {
  readonly clusterBytes: number;
  readonly clusterBits: number;
  readonly size: number;
  readonly l1: Table;
}

function strictHeader(file: Buffer): Header {
  assert.equal(file.toString('latin1', 0, 4), 'QFI\xfb');
  const version = file.readUInt32BE(4);
  assert.ok(version === 2 || version === 3);
  assert.equal(file.readBigUInt64BE(8), 0n, 'no backing file');
  assert.equal(file.readUInt32BE(16), 0);
  const clusterBits = file.readUInt32BE(20);
  assert.ok(clusterBits >= 9 && clusterBits <= 21);
  const clusterBytes = 2 ** clusterBits;
  const size = Number(file.readBigUInt64BE(24));
  assert.equal(size % 512, 0, 'whole sectors');
  assert.equal(file.readUInt32BE(32), 0, 'not encrypted');
  assert.equal(file.readUInt32BE(60), 0, 'no snapshots');
  assert.equal(file.readBigUInt64BE(64), 0n);
  if (version === 3) {
    assert.equal(file.readBigUInt64BE(72), 0n, 'no incompatible feature');
    assert.equal(file.readBigUInt64BE(80), 0n, 'no compatible feature');
    assert.equal(file.readBigUInt64BE(88), 0n, 'no autoclear feature');
    assert.equal(file.readUInt32BE(96), 4, 'refcounts of 16 bits');
    assert.equal(file.readUInt32BE(100), 112);
    assert.equal(file.readBigUInt64BE(104), 0n, 'zlib, and padding of zeros');
  }
  const firstExtension = version === 3 ? 112 : 72;
  assert.equal(file.readBigUInt64BE(firstExtension), 0n, 'no header extension');
  assert.equal(file.length % clusterBytes, 0, 'the file ends at a cluster');
  const l1 = { offset: Number(file.readBigUInt64BE(40)), entryCount: file.readUInt32BE(36) };
  const tableGuestBytes = (clusterBytes / 8) * clusterBytes;
  assert.equal(l1.entryCount, Math.max(1, Math.ceil(size / tableGuestBytes)));
  // Both tables are read as whole clusters.
  requireClusters(file, l1.offset, Math.ceil((l1.entryCount * 8) / clusterBytes), clusterBytes);
  requireClusters(file, Number(file.readBigUInt64BE(48)), file.readUInt32BE(56), clusterBytes);
  return { clusterBytes, clusterBits, size, l1 };
}

function requireClusters(file: Buffer, offset: number, count: number, clusterBytes: number): void {
  assert.ok(offset > 0 && offset % clusterBytes === 0 && count > 0);
  assert.ok(offset + count * clusterBytes <= file.length, 'the file holds the whole clusters');
}

/** One guest cluster as VirtualBox finds it from its L2 entry. */
function strictCluster(file: Buffer, header: Header, entry: bigint): Buffer {
  const { clusterBytes, clusterBits } = header;
  if (entry === 0n) return Buffer.alloc(clusterBytes);
  if ((entry & (1n << 62n)) === 0n) {
    assert.equal(entry & 0x7f00_0000_0000_01ffn, 0n, 'no zero flag, no reserved bit');
    assert.ok(entry >> 63n, 'COPIED');
    const offset = Number(entry & 0x00ff_ffff_ffff_fe00n);
    requireClusters(file, offset, 1, clusterBytes);
    return file.subarray(offset, offset + clusterBytes);
  }
  assert.equal(entry >> 63n, 0n, 'a compressed cluster is not COPIED');
  const offsetBits = BigInt(62 - (clusterBits - 8));
  const offset = Number(entry & ((1n << offsetBits) - 1n));
  const sectors = Number((entry & ((1n << 62n) - 1n)) >> offsetBits) + 1;
  const stored = sectors * 512 - (offset % 512);
  assert.ok(offset + stored <= file.length, 'all sectors of the data are in the file');
  const data = file.subarray(offset, offset + stored);
  return zlib.inflateRawSync(data, { finishFlush: zlib.constants.Z_SYNC_FLUSH });
}

function strictRead(file: Buffer): Buffer {
  const header = strictHeader(file);
  const { clusterBytes, size, l1 } = header;
  const disk = Buffer.alloc(Math.ceil(size / clusterBytes) * clusterBytes);
  const perTable = clusterBytes / 8;
  for (let at = 0; at < disk.length; at += clusterBytes) {
    const cluster = at / clusterBytes;
    const l1Entry = file.readBigUInt64BE(l1.offset + Math.floor(cluster / perTable) * 8);
    if (l1Entry === 0n) continue;
    assert.equal(l1Entry & 0x7f00_0000_0000_01ffn, 0n);
    const l2 = Number(l1Entry & 0x00ff_ffff_ffff_fe00n);
    requireClusters(file, l2, 1, clusterBytes);
    disk.set(strictCluster(file, header, file.readBigUInt64BE(l2 + (cluster % perTable) * 8)), at);
  }
  return disk.subarray(0, size);
}

const written = fc.record({
  compression: fc.constantFrom(undefined, 'zlib' as const),
  options: fc.record({
    compat: fc.constantFrom('1.1', '0.10'),
    cluster_size: fc.constantFrom('512', '4096', '65536', '2097152'),
  }),
});

test('VirtualBox would open what we write and read the disk', async () => {
  await fc.assert(
    fc.asyncProperty(contents, written, async (content, { compression, options }) => {
      const { disk, bytes } = contentDisk(content);
      const sink = memorySink();
      await convert(disk, sink, { format: 'qcow2', compression, options });
      const expected = new Uint8Array(Math.ceil(bytes.length / 512) * 512);
      expected.set(bytes);
      assertSameBytes(strictRead(Buffer.from(sink.bytes())), expected);
    }),
    { numRuns: 40 },
  );
});
