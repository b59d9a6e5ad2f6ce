// What VMware's tools (open-vmdk), ESXi and VirtualBox ask of a descriptor with extent files, checked byte by byte
// on what we write, without our own reader.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { viewOfLayout } from '../../view/view.ts';
import { vmdk } from './format.ts';
import { GRAIN, noise, pattern, readAt, request, sparseDisk } from './vmdk.testkit.ts';

const SECTOR = 512;
const MIB = 1024 * 1024;
/** 2047 MiB: VMware and VirtualBox cut there. */
const SPLIT = 4192256;

const disk = sparseDisk(
  3 * SPLIT * SECTOR - 40 * MIB + 700,
  new Map([
    [0, noise(GRAIN)],
    [SPLIT * SECTOR - 100, pattern(200)],
    [2 * SPLIT * SECTOR + 33 * MIB, noise(3 * GRAIN)],
    [3 * SPLIT * SECTOR - 40 * MIB, noise(700)],
  ]),
);
const capacity = 3 * SPLIT - 40 * 2048 + 2;

interface Extent {
  readonly sectorCount: number;
  readonly type: string;
  readonly name: string;
  readonly lengthBytes: number;
  /** Bytes of the file; the lengths are those of a test. */
  read(offsetBytes: number, lengthBytes: number): Promise<Buffer>;
}

async function plannedFiles(subformat: string): Promise<{ text: string; extents: readonly Extent[] }> {
  const set = await vmdk.plan!(disk, request({ subformat }, { baseName: 'Größe 1' }));
  assert.ok(set.kind === 'files');
  const files = set.files.map(({ name, plan }) => {
    assert.ok(plan.kind === 'layout');
    const view = viewOfLayout(plan, disk);
    const read = async (offsetBytes: number, lengthBytes: number) => {
      const into = Buffer.alloc(lengthBytes);
      await view.read(offsetBytes, into);
      return into;
    };
    return { name, lengthBytes: plan.lengthBytes, read };
  });
  const [descriptor, ...rest] = files;
  assert.ok(descriptor !== undefined);
  assert.equal(descriptor.name, 'Größe 1.vmdk');
  const text = (await descriptor.read(0, descriptor.lengthBytes)).toString('utf8');
  const lines = text.split('\n').filter((line) => /^(RW|RDONLY|NOACCESS)/.test(line));
  assert.equal(lines.length, rest.length);
  const extents = lines.map((line, i) => {
    // VirtualBox: one blank between the words. qemu: FLAT has an offset, no other has one.
    const match = /^RW (\d+) (FLAT|VMFS|SPARSE) "([^"]+)"( 0)?$/.exec(line);
    assert.ok(match !== null, line);
    const [, sectors, type = '', name = '', offset] = match;
    assert.equal(offset !== undefined, type === 'FLAT');
    const file = rest[i];
    assert.ok(file !== undefined);
    assert.equal(file.name, name);
    return { ...file, sectorCount: Number(sectors), type };
  });
  return { text, extents };
}

function strictText(text: string, subformat: string): void {
  assert.ok(text.startsWith('# Disk DescriptorFile\n') && !text.includes('\r') && !text.includes('\0'));
  const used = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  assert.ok(text.split('\n').length < 1100, 'VirtualBox reads 1100 lines');
  const sections = used.map((line) => (line.startsWith('RW ') ? 1 : line.startsWith('ddb.') ? 2 : 0));
  assert.deepEqual(sections, sections.toSorted(), 'header, extents and database stand in this order');
  for (const line of ['version=1', 'encoding="UTF-8"', 'parentCID=ffffffff', `createType="${subformat}"`]) {
    assert.ok(used.includes(line), line);
  }
  const cid = /^CID=([0-9a-f]{8})$/m.exec(text)?.[1] ?? '';
  assert.ok(!['', 'ffffffff', 'fffffffe', '00000000'].includes(cid));
  assert.match(text, new RegExp(`^ddb.longContentID = "[0-9a-f]{24}${cid}"$`, 'm'));
  const nil = '00000000-0000-0000-0000-000000000000';
  const uuids = [...text.matchAll(/^ddb\.uuid\.(\w+) = "([0-9a-f-]{36})"$/gm)].map(([, key, id]) => [
    key,
    id,
  ]);
  assert.deepEqual(
    uuids.map(([key]) => key),
    ['image', 'modification', 'parent', 'parentmodification'],
    'else VirtualBox writes them in',
  );
  assert.deepEqual(
    uuids.map(([, id]) => id === nil),
    [false, false, true, true],
  );
}

/** Bytes of the disk, zeros beyond its end. */
async function diskBytes(offsetBytes: number, lengthBytes: number): Promise<Buffer> {
  const inside = Math.max(0, Math.min(lengthBytes, disk.virtualSizeBytes - offsetBytes));
  const bytes = Buffer.alloc(lengthBytes);
  bytes.set(await readAt(disk, offsetBytes, inside));
  return bytes;
}

const places = [
  0,
  SPLIT * SECTOR - 4096,
  SPLIT * SECTOR,
  2 * SPLIT * SECTOR + 33 * MIB,
  capacity * SECTOR - 4096,
];

for (const [subformat, type, names] of [
  ['monolithicFlat', 'FLAT', ['flat']],
  ['vmfs', 'VMFS', ['flat']],
  ['twoGbMaxExtentFlat', 'FLAT', ['f001', 'f002', 'f003']],
  ['twoGbMaxExtentSparse', 'SPARSE', ['s001', 's002', 's003']],
] as const) {
  test(`a ${subformat} has the descriptor and the extents that VMware and VirtualBox ask for`, async () => {
    const { text, extents } = await plannedFiles(subformat);
    strictText(text, subformat);
    assert.deepEqual(
      extents.map(({ name }) => name),
      names.map((name) => `Größe 1-${name}.vmdk`),
    );
    assert.ok(extents.every((extent) => extent.type === type));
    assert.deepEqual(
      extents.map(({ sectorCount }) => sectorCount),
      names.length === 1 ? [capacity] : [SPLIT, SPLIT, capacity - 2 * SPLIT],
    );
    let start = 0;
    for (const extent of extents) {
      if (extent.type === 'SPARSE') await strictSparse(extent, start);
      else await strictFlat(extent, start);
      start += extent.sectorCount;
    }
  });
}

async function strictFlat(extent: Extent, start: number): Promise<void> {
  assert.equal(extent.lengthBytes, extent.sectorCount * SECTOR);
  for (const place of places) {
    const at = place - start * SECTOR;
    if (at < 0 || at >= extent.lengthBytes) continue;
    const length = Math.min(4096, extent.lengthBytes - at);
    assert.ok((await extent.read(at, length)).equals(await diskBytes(place, length)), `${place}`);
  }
}

/** The rules for a hosted sparse extent that is named by a descriptor. */
async function strictSparse(extent: Extent, start: number): Promise<void> {
  const header = await extent.read(0, SECTOR);
  const field = (at: number) => Number(header.readBigUInt64LE(at));
  assert.equal(header.toString('latin1', 0, 4), 'KDMV');
  assert.deepEqual([header.readUInt32LE(4), header.readUInt32LE(8)], [1, 3], 'version and flags');
  assert.equal(field(12), extent.sectorCount, 'the capacity is that of the line');
  assert.deepEqual([field(20), header.readUInt32LE(44)], [128, 512]);
  assert.deepEqual([field(28), field(36)], [0, 0], 'the descriptor is a file of its own');
  assert.equal(header.toString('latin1', 73, 77), '\n \r\n');
  assert.ok(header.subarray(77).every((byte) => byte === 0) && header[72] === 0);
  const [redundant, main, overHead] = [field(48), field(56), field(64)];
  const tableCount = Math.ceil(extent.sectorCount / 65536);
  const directorySectors = Math.ceil((tableCount * 4) / SECTOR);
  assert.deepEqual([redundant, main], [1, 1 + directorySectors + tableCount * 4]);
  assert.equal(overHead, Math.ceil((main + directorySectors + tableCount * 4) / 128) * 128);
  const front = await extent.read(0, overHead * SECTOR);
  const grains: number[] = [];
  for (let i = 0; i < tableCount; i++) {
    const [a, b] = [
      front.readUInt32LE(redundant * SECTOR + i * 4),
      front.readUInt32LE(main * SECTOR + i * 4),
    ];
    assert.deepEqual([a, b], [redundant + directorySectors + i * 4, main + directorySectors + i * 4]);
    const table = (sector: number) => front.subarray(sector * SECTOR, (sector + 4) * SECTOR);
    assert.ok(table(a).equals(table(b)), 'both copies of a table are equal');
    for (let at = 0; at < 2048; at += 4) grains.push(table(b).readUInt32LE(at));
  }
  let sector = overHead;
  for (const [grain, place] of grains.entries()) {
    if (place === 0) continue;
    assert.equal(place, sector, 'grains follow each other');
    const bytes = await extent.read(place * SECTOR, GRAIN);
    assert.ok(bytes.equals(await diskBytes(start * SECTOR + grain * GRAIN, GRAIN)));
    sector += 128;
  }
  assert.equal(extent.lengthBytes, sector * SECTOR, 'the last grain is whole');
}

test('a name that could not stand in a descriptor, or in a folder, is refused', async () => {
  const plan = (baseName: string) => vmdk.plan!(disk, request({ subformat: 'monolithicFlat' }, { baseName }));
  const names = [
    '',
    'a"b',
    'a/b',
    'a\\b',
    '../a',
    '.hidden',
    'a\nb',
    'a\0b',
    'a\x7fb',
    'c:x',
    '\ud800',
    'x'.repeat(201),
  ];
  for (const name of names) await assert.rejects(plan(name), { code: 'IMAGE_OPTION' }, JSON.stringify(name));
  for (const name of ["it's", 'a b', 'ä', 'x=1', '#1', 'x'.repeat(200)]) assert.ok(await plan(name));
});

test('a disk that needs more extents than VirtualBox reads is refused before anything is written', async () => {
  const large = (extents: number) => sparseDisk(extents * SPLIT * SECTOR, new Map());
  const plan = (extents: number) =>
    vmdk.plan!(large(extents), request({ subformat: 'twoGbMaxExtentSparse' }));
  await assert.rejects(plan(1001), { code: 'IMAGE_LIMIT' });
  const set = await plan(1000);
  assert.ok(set.kind === 'files' && set.files.at(-1)?.name === 'disk-s1000.vmdk');
});
