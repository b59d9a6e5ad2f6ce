import { AMPLIFIED, type Family, type HostileCase, LIMIT, MALFORMED, readsAs } from './case.ts';
import { be32, bytesAt, le32, le64, noise, text } from './fields.ts';
import { type CorpusImage, imageOf } from './image.ts';
import { longFiles } from './long-files.ts';
import { qcow2Bombs } from './qcow2-bombs.ts';
import { vhdFooter } from './vhd.ts';
import { descriptorText, headerPatches, SECTOR } from './vmdk-image.ts';

const MIB = 2 ** 20;

const TIB = 2 ** 40;

/** monolithicSparse with tables all of whose entries name one grain of 1 MiB. */
function sharedVmdk(tableCount: number): CorpusImage {
  const grainSectors = 2048;
  const directorySector = 21;
  const tablesSector = directorySector + Math.ceil((tableCount * 4) / SECTOR);
  const grain = Math.ceil((tablesSector + tableCount * 4) / grainSectors) * grainSectors;
  const capacitySectors = tableCount * 512 * grainSectors;
  const patches = [
    ...headerPatches(0, { flags: 1, capacitySectors, directorySector, overheadSectors: grain }),
    le64(20, grainSectors),
    text(SECTOR, descriptorText('monolithicSparse', [`RW ${capacitySectors} SPARSE "disk.vmdk"`])),
    { ...le32(tablesSector * SECTOR, grain), count: tableCount * 512 },
    bytesAt(grain * SECTOR, noise(grainSectors * SECTOR)),
  ];
  for (let index = 0; index < tableCount; index++) {
    patches.push(le32(directorySector * SECTOR + index * 4, tablesSector + index * 4));
  }
  return imageOf((grain + grainSectors) * SECTOR, ...patches);
}

/** monolithicSparse with a directory all of whose entries name one table, and all of that one grain. */
function sharedTable(entryCount: number): CorpusImage {
  const directorySectors = entryCount / 128;
  const tableSector = 21 + directorySectors;
  const grain = Math.ceil((tableSector + 4) / 128) * 128;
  const capacitySectors = entryCount * 512 * 128;
  return imageOf(
    (grain + 128) * SECTOR,
    ...headerPatches(0, { flags: 1, capacitySectors, directorySector: 21, overheadSectors: grain }),
    le64(20, 128),
    text(SECTOR, descriptorText('monolithicSparse', [`RW ${capacitySectors} SPARSE "disk.vmdk"`])),
    { ...le32(21 * SECTOR, tableSector), count: entryCount },
    { ...le32(tableSector * SECTOR, grain), count: 512 },
    bytesAt(grain * SECTOR, noise(128 * SECTOR)),
  );
}

/** A VHD of many blocks: its table alone is long. */
function longVhd(entryCount: number, entry: number): CorpusImage {
  const blockBytes = 128 * 1024;
  const footer = vhdFooter({ type: 3, sizeBytes: entryCount * blockBytes, dataOffset: 512 });
  const header = new Uint8Array(1024);
  const view = new DataView(header.buffer);
  header.set(Buffer.from('cxsparse'));
  view.setBigUint64(8, 2n ** 64n - 1n);
  view.setBigUint64(16, 1536n);
  view.setUint32(24, 0x00010000);
  view.setUint32(28, entryCount);
  view.setUint32(32, blockBytes);
  view.setUint32(36, 0xffffffff - header.reduce((sum, byte) => sum + byte, 0));
  const data = Math.ceil((1536 + entryCount * 4) / 512) * 512;
  return imageOf(
    data + 512 + blockBytes + 512,
    bytesAt(0, footer),
    bytesAt(512, header),
    { ...be32(1536, entry === 0 ? data / 512 : entry), count: entryCount },
    { offsetBytes: data, bytes: Uint8Array.of(255), count: 512 + blockBytes },
    bytesAt(data + 512 + blockBytes, footer),
  );
}

function* otherBombs(): Generator<HostileCase> {
  yield {
    name: 'vmdk bomb: 512 grain tables all of whose entries name one grain of 1 MiB',
    format: 'vmdk',
    image: sharedVmdk(512),
    expected: AMPLIFIED,
    onlyWhole: true,
  };
  yield {
    name: 'vmdk bomb: a directory of 65536 entries that all name one grain table',
    format: 'vmdk',
    image: sharedTable(65_536),
    expected: MALFORMED,
  };
  yield {
    name: 'vhd bomb: a table of 2 Mi entries that all name one block',
    format: 'vhd',
    image: longVhd(2 * MIB, 0),
    expected: MALFORMED,
  };
  yield {
    name: 'vhd bomb: a table of 16 Mi entries, all of it unused',
    format: 'vhd',
    image: longVhd(16 * MIB, 0xffffffff),
    expected: LIMIT,
  };
  yield {
    name: 'vhd bomb: the longest table that is read, all of it unused',
    format: 'vhd',
    image: longVhd(4 * MIB, 0xffffffff),
    expected: readsAs(imageOf(4 * MIB * 131072)),
  };
  yield {
    name: 'raw bomb: a file of 1 TiB that holds nothing',
    image: imageOf(TIB),
    expected: readsAs(imageOf(TIB)),
  };
  const far = imageOf(2 ** 52 + 7, { offsetBytes: 2 ** 51, bytes: noise(4096) });
  yield {
    name: 'raw bomb: a file of 2^52 bytes with a page of data',
    format: 'raw',
    image: far,
    expected: readsAs(far),
  };
}

function* cases(): Generator<HostileCase> {
  yield* longFiles();
  yield* qcow2Bombs();
  yield* otherBombs();
}

export const bombs: Family = { name: 'bombs', cases };
