// VirtualBox is stricter than every other reader of VMDK. These are its rules for opening a file and for
// reading it as a stream out of an OVA, checked byte by byte on what we write, without our own reader.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import zlib from 'node:zlib';
import type { Disk } from '../../disk/disk.ts';
import { GRAIN, noise, pattern, readAt, sparseDisk, written } from './vmdk.testkit.ts';

const SECTOR = 512;
const MIB = 1024 * 1024;
const GD_AT_END = 2n ** 64n - 1n;

const disks: Record<string, Disk> = {
  'without data': sparseDisk(3 * MIB, new Map()),
  'of odd size': sparseDisk(100 * MIB + 512 + 7, new Map([[100 * MIB, noise(519)]])),
  'with zeros in its data': sparseDisk(
    300 * MIB,
    new Map([
      [0, new Uint8Array(4 * GRAIN)],
      [10 * GRAIN, noise(40 * GRAIN)],
      [130 * MIB - 5, pattern(MIB)],
      [200 * MIB, new Uint8Array(GRAIN)],
      [299 * MIB, noise(MIB)],
    ]),
  ),
};

interface Header {
  readonly view: DataView;
  readonly capacity: number;
  readonly gdOffset: bigint;
}

function strictHeader(sector: Uint8Array, version: number, flags: number): Header {
  const view = new DataView(sector.buffer, sector.byteOffset, SECTOR);
  assert.equal(Buffer.from(sector.subarray(0, 4)).toString('latin1'), 'KDMV');
  assert.equal(view.getUint32(4, true), version, 'VirtualBox takes 1 and 3, ESXi no 1 in a stream');
  assert.equal(view.getUint32(8, true), flags);
  assert.equal(view.getBigUint64(20, true), 128n);
  assert.equal(view.getBigUint64(28, true), 1n);
  assert.ok(view.getBigUint64(36, true) >= 20n, 'room to rewrite the descriptor');
  assert.equal(view.getUint32(44, true), 512);
  assert.equal(sector[72], 0);
  assert.deepEqual([...sector.subarray(73, 77)], [0x0a, 0x20, 0x0d, 0x0a]);
  assert.ok(sector.subarray(79, SECTOR).every((byte) => byte === 0));
  return { view, capacity: Number(view.getBigUint64(12, true)), gdOffset: view.getBigUint64(56, true) };
}

function strictDescriptor(file: Uint8Array, capacity: number, createType: string): void {
  const bytes = file.subarray(SECTOR, 21 * SECTOR);
  const end = bytes.indexOf(0);
  assert.ok(end > 0 && bytes.subarray(end).every((byte) => byte === 0));
  const text = Buffer.from(bytes.subarray(0, end)).toString('latin1');
  assert.ok(!text.includes('\r'));
  const lines = text.split('\n');
  assert.equal(lines[0], '# Disk DescriptorFile');
  const used = lines.filter((line) => line !== '' && !line.startsWith('#'));
  assert.ok(
    used.every((line) => !/^\s/.test(line)),
    'no line is indented',
  );
  const sections = used.map((line) => (/^(RW|RDONLY) /.test(line) ? 1 : line.startsWith('ddb.') ? 2 : 0));
  assert.deepEqual(sections, sections.toSorted(), 'header, extents and database stand in this order');
  assert.equal(sections.filter((section) => section === 1).length, 1, 'one extent');
  assert.ok(used.includes('version=1'));
  assert.ok(used.includes(`createType="${createType}"`));
  assert.ok(used.includes('parentCID=ffffffff'));
  const cid = /^CID=([0-9a-f]{8})$/m.exec(text)?.[1] ?? '';
  assert.ok(!['', 'ffffffff', 'fffffffe', '00000000'].includes(cid));
  assert.match(text, new RegExp(`^ddb.longContentID = "[0-9a-f]{24}${cid}"$`, 'm'));
  assert.match(text, new RegExp(`^(RW|RDONLY) ${capacity} SPARSE "[^"/\\\\]+"$`, 'm'));
  const uuid = (key: string) => new RegExp(`^ddb\\.uuid\\.${key} = "([0-9a-f-]{36})"$`, 'm').exec(text)?.[1];
  const nil = '00000000-0000-0000-0000-000000000000';
  assert.equal(uuid('parent'), nil);
  assert.equal(uuid('parentmodification'), nil);
  const own = [uuid('image'), uuid('modification')];
  assert.ok(own.every((id) => id !== undefined && id !== nil) && own[0] !== own[1]);
}

function words(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / 4 }, (_, i) => view.getUint32(i * 4, true));
}

for (const [name, disk] of Object.entries(disks)) {
  test(`a monolithicSparse of a disk ${name} keeps VirtualBox's rules`, async () => {
    const file = await written(disk, 'monolithicSparse');
    const { view, capacity, gdOffset } = strictHeader(file, 1, 3);
    assert.equal(capacity, Math.ceil(disk.virtualSizeBytes / SECTOR));
    strictDescriptor(file, capacity, 'monolithicSparse');
    const tableCount = Math.ceil(capacity / (128 * 512));
    const directory = (sector: bigint) =>
      words(file.subarray(Number(sector) * SECTOR).subarray(0, tableCount * 4));
    const [redundant, main] = [directory(view.getBigUint64(48, true)), directory(gdOffset)];
    const overHead = Number(view.getBigUint64(64, true));
    assert.equal(overHead % 128, 0);
    for (const [i, sector] of main.entries()) {
      const other = redundant[i]!;
      assert.ok(sector > 0 && other > 0 && sector !== other, 'both directories have every table');
      assert.ok(sector + 4 <= overHead && other + 4 <= overHead);
      const table = (at: number) => Buffer.from(file.subarray(at * SECTOR, (at + 4) * SECTOR));
      assert.ok(table(sector).equals(table(other)), 'both copies of a table are equal');
    }
    const grains = main.flatMap((sector) => words(file.subarray(sector * SECTOR, (sector + 4) * SECTOR)));
    const used = grains.filter((sector) => sector !== 0);
    assert.deepEqual(
      used,
      used.map((_, i) => overHead + i * 128),
      'grains follow each other in guest order',
    );
    assert.equal(file.length, (overHead + used.length * 128) * SECTOR, 'the last grain is whole');
  });

  test(`a streamOptimized of a disk ${name} keeps VirtualBox's rules for a stream`, async () => {
    const file = await written(disk, 'streamOptimized');
    const { view, capacity, gdOffset } = strictHeader(file, 3, 0x30001);
    assert.equal(view.getBigUint64(48, true), 0n);
    assert.equal(gdOffset, GD_AT_END);
    assert.equal(view.getBigUint64(64, true), 128n);
    assert.equal(view.getUint16(77, true), 1);
    strictDescriptor(file, capacity, 'streamOptimized');
    assert.equal(file.length % SECTOR, 0);
    await strictWalk(file, capacity, disk, 128);
  });

  test(`a streamOptimized of a disk ${name}, tables in front, keeps the rules of VirtualBox and open-vmdk`, async () => {
    const file = await written(disk, 'streamOptimized', { tables: 'front' });
    const { view, capacity, gdOffset } = strictHeader(file, 3, 0x30001);
    assert.equal(view.getBigUint64(48, true), 0n, 'ESXi takes no redundant directory in a stream');
    assert.equal(gdOffset, 21n);
    assert.equal(view.getUint16(77, true), 1);
    strictDescriptor(file, capacity, 'streamOptimized');
    const overHead = Number(view.getBigUint64(64, true));
    const tableCount = Math.ceil(capacity / (128 * 512));
    const directorySectors = Math.ceil((tableCount * 4) / SECTOR);
    assert.equal(overHead, Math.ceil((21 + directorySectors + tableCount * 4) / 128) * 128);
    const directory = words(file.subarray(21 * SECTOR, (21 + directorySectors) * SECTOR));
    const expected = directory.map((_, i) => (i < tableCount ? 21 + directorySectors + i * 4 : 0));
    assert.deepEqual(directory, expected, 'every table is there, one behind the other');
    const tables = words(
      file.subarray((21 + directorySectors) * SECTOR, (21 + directorySectors + tableCount * 4) * SECTOR),
    );
    const places = await strictWalk(file, capacity, disk, overHead);
    assert.deepEqual(
      new Map([...tables.entries()].filter(([, sector]) => sector !== 0)),
      places,
      'the tables say where each record stands',
    );
  });
}

/**
 * The records from overHead to the end of the stream, each as a reader without seeking meets it. Gives the
 * sector of each grain's record.
 */
async function strictWalk(
  file: Uint8Array,
  capacity: number,
  disk: Disk,
  startSector: number,
): Promise<Map<number, number>> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const grainCount = Math.ceil(capacity / 128);
  const directory: number[] = new Array(Math.ceil(grainCount / 512)).fill(0);
  const seen = new Map<number, number>();
  let table: number[] = new Array(512).fill(0);
  let lastGrain = -1;
  let directoryAt = 0;
  let state: 'grains' | 'footer' | 'end' = 'grains';
  let at = startSector * SECTOR;
  for (; state !== 'end'; ) {
    const sector = Number(view.getBigUint64(at, true));
    const size = view.getUint32(at + 8, true);
    if (size > 0) {
      assert.equal(state, 'grains');
      const grain = sector / 128;
      assert.ok(Number.isInteger(grain) && grain > lastGrain && grain < grainCount, 'grains ascend');
      assert.ok(size <= 66048 - 12, 'a record fits into the buffer of VirtualBox');
      const data = file.subarray(at + 12, at + 12 + size);
      const plain = zlib.inflateSync(data);
      assert.equal(plain.length, GRAIN, 'every grain is whole');
      assert.ok(
        plain.some((byte) => byte !== 0),
        'grains of zeros are left out',
      );
      const inside = Math.min(GRAIN, disk.virtualSizeBytes - grain * GRAIN);
      assert.ok(Buffer.from(await readAt(disk, grain * GRAIN, inside)).equals(plain.subarray(0, inside)));
      assert.ok(plain.subarray(inside).every((byte) => byte === 0));
      const end = Math.ceil((at + 12 + size) / SECTOR) * SECTOR;
      assert.ok(file.subarray(at + 12 + size, end).every((byte) => byte === 0));
      table[grain % 512] = at / SECTOR;
      lastGrain = grain;
      seen.set(grain, at / SECTOR);
      at = end;
      continue;
    }
    const type = view.getUint32(at + 12, true);
    assert.ok(file.subarray(at + 16, at + SECTOR).every((byte) => byte === 0));
    const metadata = file.subarray(at + SECTOR, at + SECTOR + sector * SECTOR);
    if (type === 1) {
      assert.equal(sector, 4);
      assert.deepEqual(words(metadata), table);
      directory[Math.floor(lastGrain / 512)] = at / SECTOR + 1;
      table = new Array(512).fill(0);
    } else if (type === 2) {
      assert.ok(
        table.every((entry) => entry === 0),
        'no table is missing',
      );
      assert.equal(sector, Math.ceil((directory.length * 4) / SECTOR));
      assert.deepEqual(words(metadata).slice(0, directory.length), directory);
      directoryAt = at / SECTOR + 1;
      state = 'footer';
    } else if (type === 3) {
      assert.equal(state, 'footer');
      assert.equal(at, file.length - 3 * SECTOR);
      const footer = strictHeader(metadata, 3, 0x30001);
      assert.equal(footer.gdOffset, BigInt(directoryAt));
      const sameAsHeader = Buffer.from(metadata);
      sameAsHeader.writeBigUInt64LE(GD_AT_END, 56);
      assert.ok(sameAsHeader.equals(file.subarray(0, SECTOR)));
    } else {
      assert.deepEqual([type, sector], [0, 0]);
      assert.equal(at, file.length - SECTOR, 'the end of the stream is the end of the file');
      state = 'end';
    }
    at += SECTOR + sector * SECTOR;
  }
  for await (const { offsetBytes, lengthBytes, kind } of disk.extents(0, disk.virtualSizeBytes)) {
    if (kind !== 'data') continue;
    const bytes = await readAt(disk, offsetBytes, lengthBytes);
    const stored = seen.has(Math.floor(offsetBytes / GRAIN));
    assert.equal(
      stored,
      bytes.some((byte) => byte !== 0),
      'every grain with data is there',
    );
  }
  return seen;
}
