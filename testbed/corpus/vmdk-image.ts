import zlib from 'node:zlib';
import { refusedWith } from './case.ts';
import { bytesAt, type GoodImage, le16, le32, le64, noise, pattern, type Structure, text } from './fields.ts';
import { type CorpusImage, imageOf, type Patch } from './image.ts';

export const SECTOR = 512;
/** Sectors of a grain: the least that readers take, so that files stay small. */
const GRAIN_SECTORS = 8;
const GRAIN = GRAIN_SECTORS * SECTOR;
const TABLE_ENTRIES = 512;
const TABLE_SECTORS = 4;
const DESCRIPTOR_SECTORS = 20;
/** Less than a mark is no file of the format. */
const NO_HEADER = refusedWith('IMAGE_TRUNCATED', 'IMAGE_MALFORMED');
export const AT_END = 2n ** 64n - 1n;

export interface VmdkImage extends GoodImage {
  /** File offsets. */
  readonly directory: number;
  readonly tables: readonly number[];
  readonly redundantDirectory?: number;
  /** Of the footer of a stream. */
  readonly footer?: number;
  /** File offset of a grain, or of its record. */
  readonly grains: ReadonlyMap<number, number>;
  /** Place of a grain's table entry. */
  entry(grain: number): number;
}

/** Grains with data; 16 grains make the disk of 64 KiB. */
export function usualGrains(): Map<number, Uint8Array> {
  return new Map([
    [0, noise(GRAIN, 1)],
    [1, pattern(GRAIN, 2)],
    [2, noise(GRAIN, 3)],
    [7, pattern(GRAIN, 4)],
    [15, noise(GRAIN, 5)],
  ]);
}

export function descriptorText(createType: string, extents: readonly string[], more = ''): string {
  return `# Disk DescriptorFile
version=1
CID=12345678
parentCID=ffffffff
createType="${createType}"
${more}
# Extent description
${extents.join('\n')}

# The Disk Data Base
#DDB
ddb.virtualHWVersion = "4"
ddb.geometry.cylinders = "4"
ddb.geometry.heads = "16"
ddb.geometry.sectors = "63"
ddb.adapterType = "ide"
`;
}

export interface HeaderFields {
  readonly version?: number;
  readonly flags: number;
  readonly capacitySectors: number;
  readonly redundantSector?: number;
  readonly directorySector: bigint | number;
  readonly overheadSectors: number;
  readonly compressed?: boolean;
}

export function headerPatches(at: number, fields: HeaderFields): Patch[] {
  return [
    text(at, 'KDMV'),
    le32(at + 4, fields.version ?? 1),
    le32(at + 8, fields.flags),
    le64(at + 12, fields.capacitySectors),
    le64(at + 20, GRAIN_SECTORS),
    le64(at + 28, 1),
    le64(at + 36, DESCRIPTOR_SECTORS),
    le32(at + 44, TABLE_ENTRIES),
    le64(at + 48, fields.redundantSector ?? 0),
    le64(at + 56, fields.directorySector),
    le64(at + 64, fields.overheadSectors),
    text(at + 73, '\n \r\n'),
    le16(at + 77, fields.compressed === true ? 1 : 0),
  ];
}

export interface VmdkFields {
  readonly sizeBytes?: number;
  readonly grains?: ReadonlyMap<number, Uint8Array>;
  readonly descriptor?: string;
}

/** monolithicSparse as VMware and qemu lay it out: both directories with all tables, then the grains. */
export function sparseImage(fields: VmdkFields = {}): VmdkImage {
  const { sizeBytes = 16 * GRAIN, grains: stored = usualGrains() } = fields;
  const tableCount = Math.max(1, Math.ceil(sizeBytes / (GRAIN * TABLE_ENTRIES)));
  const directorySectors = Math.ceil((tableCount * 4) / SECTOR);
  const redundantSector = 1 + DESCRIPTOR_SECTORS;
  const redundantTables = redundantSector + directorySectors;
  const directorySector = redundantTables + tableCount * TABLE_SECTORS;
  const tablesSector = directorySector + directorySectors;
  const overheadSectors =
    Math.ceil((tablesSector + tableCount * TABLE_SECTORS) / GRAIN_SECTORS) * GRAIN_SECTORS;
  const patches = headerPatches(0, {
    flags: 3,
    capacitySectors: sizeBytes / SECTOR,
    redundantSector,
    directorySector,
    overheadSectors,
  });
  const extentLine = `RW ${sizeBytes / SECTOR} SPARSE "disk.vmdk"`;
  patches.push(text(SECTOR, fields.descriptor ?? descriptorText('monolithicSparse', [extentLine])));
  const tables: number[] = [];
  for (let index = 0; index < tableCount; index++) {
    const table = tablesSector + index * TABLE_SECTORS;
    patches.push(le32(redundantSector * SECTOR + index * 4, redundantTables + index * TABLE_SECTORS));
    patches.push(le32(directorySector * SECTOR + index * 4, table));
    tables.push(table * SECTOR);
  }
  const structures: Structure[] = [
    { name: 'header', offsetBytes: 0, lengthBytes: SECTOR, cut: NO_HEADER },
    { name: 'descriptor', offsetBytes: SECTOR, lengthBytes: DESCRIPTOR_SECTORS * SECTOR },
    { name: 'redundant grain directory', offsetBytes: redundantSector * SECTOR, lengthBytes: tableCount * 4 },
    {
      name: 'redundant grain table',
      offsetBytes: redundantTables * SECTOR,
      lengthBytes: TABLE_SECTORS * SECTOR,
    },
    { name: 'grain directory', offsetBytes: directorySector * SECTOR, lengthBytes: tableCount * 4 },
    { name: 'grain table', offsetBytes: tablesSector * SECTOR, lengthBytes: TABLE_SECTORS * SECTOR },
  ];
  const entry = (grain: number) => tablesSector * SECTOR + grain * 4;
  const grains = new Map<number, number>();
  let sector = overheadSectors;
  for (const [grain, bytes] of stored) {
    grains.set(grain, sector * SECTOR);
    patches.push(le32(entry(grain), sector), le32(redundantTables * SECTOR + grain * 4, sector));
    patches.push(bytesAt(sector * SECTOR, bytes));
    structures.push({
      name: `grain ${grain}`,
      offsetBytes: sector * SECTOR,
      lengthBytes: GRAIN,
      isData: true,
    });
    sector += GRAIN_SECTORS;
  }
  return {
    image: imageOf(sector * SECTOR, ...patches),
    content: grainContent(sizeBytes, stored),
    structures,
    directory: directorySector * SECTOR,
    tables,
    redundantDirectory: redundantSector * SECTOR,
    grains,
    entry,
  };
}

function grainContent(sizeBytes: number, grains: ReadonlyMap<number, Uint8Array>): CorpusImage {
  return imageOf(sizeBytes, ...[...grains].map(([grain, bytes]) => bytesAt(grain * GRAIN, bytes)));
}

/** A grain's record: marker and zlib data, to a sector. */
export function grainRecord(
  grain: number,
  plain: Uint8Array,
  data: Uint8Array = zlib.deflateSync(plain),
): Uint8Array {
  const record = new Uint8Array(Math.ceil((12 + data.length) / SECTOR) * SECTOR);
  const view = new DataView(record.buffer);
  view.setBigUint64(0, BigInt(grain * GRAIN_SECTORS), true);
  view.setUint32(8, data.length, true);
  record.set(data, 12);
  return record;
}

/** A metadata marker of a stream. */
export function marker(at: number, sectorCount: number | bigint, type: number): Patch[] {
  return [le64(at, sectorCount), le32(at + 12, type)];
}

export interface StreamFields extends VmdkFields {
  /** Records instead of the usual ones, in the order of the file. */
  readonly records?: readonly (readonly [grain: number, record: Uint8Array])[];
  /** VMware's other layout: the tables before the grains, no footer. */
  readonly tablesFirst?: boolean;
}

/** streamOptimized: with a footer, as a stream is written, or with the tables in front. */
export function streamImage(fields: StreamFields = {}): VmdkImage {
  const { sizeBytes = 16 * GRAIN, grains: stored = usualGrains(), tablesFirst = false } = fields;
  const records =
    fields.records ?? [...stored].map(([grain, plain]) => [grain, grainRecord(grain, plain)] as const);
  const capacitySectors = sizeBytes / SECTOR;
  const extentLine = `RDONLY ${capacitySectors} SPARSE "disk.vmdk"`;
  const frontSector = 1 + DESCRIPTOR_SECTORS;
  const overheadSectors = 128;
  const patches: Patch[] = [
    text(SECTOR, fields.descriptor ?? descriptorText('streamOptimized', [extentLine])),
  ];
  const structures: Structure[] = [
    { name: 'header', offsetBytes: 0, lengthBytes: SECTOR, cut: NO_HEADER },
    { name: 'descriptor', offsetBytes: SECTOR, lengthBytes: DESCRIPTOR_SECTORS * SECTOR },
  ];
  const common = { version: 3, flags: 0x30001, capacitySectors, overheadSectors, compressed: true };
  patches.push(...headerPatches(0, { ...common, directorySector: tablesFirst ? frontSector : AT_END }));
  const grains = new Map<number, number>();
  let sector = overheadSectors;
  for (const [grain, record] of records) {
    grains.set(grain, sector * SECTOR);
    patches.push(bytesAt(sector * SECTOR, record));
    structures.push({
      name: `record of grain ${grain}`,
      offsetBytes: sector * SECTOR,
      // Without the zeros behind it, which nobody needs.
      lengthBytes: 12 + new DataView(record.buffer, record.byteOffset).getUint32(8, true),
      isData: true,
    });
    sector += record.length / SECTOR;
  }
  let directory = frontSector * SECTOR;
  let table = directory + SECTOR;
  let footer: number | undefined;
  if (!tablesFirst) {
    const metadata = (name: string, sectorCount: number, type: number): number => {
      patches.push(...marker(sector * SECTOR, sectorCount, type));
      structures.push({ name: `${name} marker`, offsetBytes: sector * SECTOR, lengthBytes: SECTOR });
      const at = (sector + 1) * SECTOR;
      structures.push({ name, offsetBytes: at, lengthBytes: sectorCount * SECTOR });
      sector += 1 + sectorCount;
      return at;
    };
    table = metadata('grain table', TABLE_SECTORS, 1);
    directory = metadata('grain directory', 1, 2);
    footer = metadata('footer', 1, 3);
    patches.push(...headerPatches(footer, { ...common, directorySector: directory / SECTOR }));
  } else {
    structures.push(
      { name: 'grain directory', offsetBytes: directory, lengthBytes: 4 },
      { name: 'grain table', offsetBytes: table, lengthBytes: TABLE_SECTORS * SECTOR },
    );
  }
  patches.push(le32(directory, table / SECTOR));
  structures.push({ name: 'end of the stream', offsetBytes: sector * SECTOR, lengthBytes: SECTOR });
  sector++;
  const entry = (grain: number) => table + grain * 4;
  for (const [grain, at] of grains) patches.push(le32(entry(grain), at / SECTOR));
  return {
    image: imageOf(sector * SECTOR, ...patches),
    content: grainContent(sizeBytes, stored),
    structures,
    directory,
    tables: [table],
    ...(footer !== undefined && { footer }),
    grains,
    entry,
  };
}
