import { type ByteSource, memorySource, readStructure } from '@gantry/disk';
import type { Budget } from '../budget.ts';
import { Fields, malformed, tooMany } from '../fields.ts';
import { DIRECTORY_BYTES_MAX, DIRECTORY_ENTRY_COUNT_MAX } from '../limits.ts';
import type { DirectoryEntry, FileSystem, GuestNode, RecognisedFileSystem } from './file-system.ts';
import { Runs, wholeOf } from './runs.ts';

const ENTRY_BYTES = 32;
const ATTRIBUTE_VOLUME = 0x08;
const ATTRIBUTE_DIRECTORY = 0x10;
const ATTRIBUTE_LONG_NAME = 0x0f;

interface Geometry {
  readonly bits: 12 | 16 | 32;
  readonly clusterBytes: number;
  readonly fatBytes: number;
  readonly fatOffset: number;
  readonly rootOffset: number;
  readonly rootBytes: number;
  readonly dataOffset: number;
  readonly clusterCount: number;
  readonly rootCluster: number;
  readonly serial: string;
  readonly label: string;
}

/** FAT12, FAT16 or FAT32 (Microsoft, "FAT: General Overview of On-Disk Format" 1.03), where the boot sector is of one. */
export function recogniseFat(
  volume: ByteSource,
  boot: Fields,
  budget: Budget,
): RecognisedFileSystem | undefined {
  const geometry = geometryOf(boot, volume.lengthBytes);
  if (geometry === undefined) return undefined;
  return {
    kind: `fat${geometry.bits}`,
    uuid: geometry.serial,
    ...(geometry.label !== '' && { label: geometry.label }),
    open: async () => new Fat(volume, geometry, budget),
  };
}

function geometryOf(boot: Fields, volumeBytes: number): Geometry | undefined {
  const sectorBytes = boot.u16(11);
  const sectorsPerCluster = boot.u8(13);
  const reservedSectors = boot.u16(14);
  const fatCount = boot.u8(16);
  const rootEntries = boot.u16(17);
  const media = boot.u8(21);
  const totalSectors = boot.u16(19) || boot.u32(32);
  const fatSectors = boot.u16(22) || boot.u32(36);
  const isSound =
    boot.u16(510) === 0xaa55 &&
    [512, 1024, 2048, 4096].includes(sectorBytes) &&
    [1, 2, 4, 8, 16, 32, 64, 128].includes(sectorsPerCluster) &&
    reservedSectors > 0 &&
    (fatCount === 1 || fatCount === 2) &&
    (media === 0xf0 || media >= 0xf8) &&
    fatSectors > 0;
  if (!isSound) return undefined;
  const rootSectors = Math.ceil((rootEntries * ENTRY_BYTES) / sectorBytes);
  const firstDataSector = reservedSectors + fatCount * fatSectors + rootSectors;
  const clusterCount = Math.floor((totalSectors - firstDataSector) / sectorsPerCluster);
  if (clusterCount < 1 || firstDataSector * sectorBytes > volumeBytes) return undefined;
  const bits = boot.u16(22) === 0 ? 32 : clusterCount < 4085 ? 12 : 16;
  const extended = bits === 32 ? 64 : 36;
  const serial = boot
    .u32(extended + 3)
    .toString(16)
    .toUpperCase()
    .padStart(8, '0');
  const label = boot.latin1(extended + 7, 11).trimEnd();
  return {
    bits,
    clusterBytes: sectorsPerCluster * sectorBytes,
    fatBytes: fatSectors * sectorBytes,
    fatOffset: reservedSectors * sectorBytes,
    rootOffset: (firstDataSector - rootSectors) * sectorBytes,
    rootBytes: rootSectors * sectorBytes,
    dataOffset: firstDataSector * sectorBytes,
    clusterCount,
    rootCluster: bits === 32 ? boot.u32(44) : 0,
    serial: `${serial.slice(0, 4)}-${serial.slice(4)}`,
    label: label === 'NO NAME' ? '' : label.replaceAll('\0', ''),
  };
}

/** A place is `CLUSTER:SIZE:KIND`; the root of FAT12 and FAT16 stands outside the clusters and has cluster 0. */
class Fat implements FileSystem {
  readonly root = '0:0:d';
  readonly ignoresCase = true;
  readonly #volume: ByteSource;
  readonly #geometry: Geometry;
  readonly #budget: Budget;

  constructor(volume: ByteSource, geometry: Geometry, budget: Budget) {
    this.#volume = volume;
    this.#geometry = geometry;
    this.#budget = budget;
  }

  async node(place: string): Promise<GuestNode> {
    const [, size = '0', kind] = place.split(':');
    return { place, kind: kind === 'd' ? 'directory' : 'file', sizeBytes: Number(size) };
  }

  async list(directory: GuestNode): Promise<readonly DirectoryEntry[]> {
    const cluster = Number(directory.place.split(':')[0]);
    const { bits, rootOffset, rootBytes, rootCluster } = this.#geometry;
    if (cluster === 0 && bits !== 32)
      return entriesOf(await readStructure(this.#volume, rootOffset, rootBytes, 'FAT root directory'));
    const runs = await this.#runs(
      cluster === 0 ? rootCluster : cluster,
      DIRECTORY_BYTES_MAX,
      'FAT directory',
    );
    const last = runs.list.at(-1);
    const lengthBytes = last === undefined ? 0 : last.fileBytes + last.lengthBytes;
    return entriesOf(
      await wholeOf(runs.source(this.#volume, lengthBytes), DIRECTORY_BYTES_MAX, 'FAT directory'),
    );
  }

  async open(file: GuestNode, limitBytes: number): Promise<ByteSource> {
    const lengthBytes = Math.min(file.sizeBytes, limitBytes);
    if (lengthBytes === 0) return memorySource(new Uint8Array());
    const runs = await this.#runs(Number(file.place.split(':')[0]), lengthBytes, 'FAT file');
    const last = runs.list.at(-1);
    if (last === undefined || last.fileBytes + last.lengthBytes < lengthBytes)
      throw malformed('FAT file', 'its chain of clusters is shorter than its size');
    return runs.source(this.#volume, lengthBytes);
  }

  /** The clusters of a chain, at most as many as hold `limitBytes`: a chain that turns back ends there too. */
  async #runs(first: number, limitBytes: number, structure: string): Promise<Runs> {
    const { clusterBytes, clusterCount, dataOffset } = this.#geometry;
    const runs = new Runs(structure, this.#budget);
    const count = Math.min(clusterCount, Math.ceil(limitBytes / clusterBytes));
    let cluster = first;
    for (let index = 0; index < count; index++) {
      if (cluster < 2 || cluster >= clusterCount + 2) {
        if (index > 0 && this.#isEnd(cluster)) break;
        throw malformed(structure, `cluster ${cluster} of ${clusterCount} in its chain`);
      }
      runs.add(index * clusterBytes, dataOffset + (cluster - 2) * clusterBytes, clusterBytes);
      cluster = await this.#next(cluster);
    }
    return runs;
  }

  #isEnd(cluster: number): boolean {
    const { bits } = this.#geometry;
    return cluster >= (bits === 12 ? 0xff8 : bits === 16 ? 0xfff8 : 0x0ffffff8);
  }

  async #next(cluster: number): Promise<number> {
    const { bits, fatOffset, fatBytes } = this.#geometry;
    const at = Math.floor((cluster * bits) / 8);
    const lengthBytes = bits === 32 ? 4 : 2;
    if (at + lengthBytes > fatBytes) throw malformed('FAT', `it has no entry for cluster ${cluster}`);
    const entry = new Fields(await readStructure(this.#volume, fatOffset + at, lengthBytes, 'FAT'), 'FAT');
    if (bits === 32) return entry.u32(0) % 0x10000000;
    const value = entry.u16(0);
    if (bits === 16) return value;
    return cluster % 2 === 0 ? value % 0x1000 : Math.floor(value / 16);
  }
}

/** Long names stand in front of the entry that they belong to, the last part first. */
function entriesOf(bytes: Uint8Array): DirectoryEntry[] {
  const directory = new Fields(bytes, 'FAT directory');
  const entries: DirectoryEntry[] = [];
  let longName = '';
  for (let at = 0; at + ENTRY_BYTES <= bytes.length; at += ENTRY_BYTES) {
    const first = directory.u8(at);
    if (first === 0) break;
    const attributes = directory.u8(at + 11);
    if (first === 0xe5) {
      longName = '';
    } else if ((attributes & 0x3f) === ATTRIBUTE_LONG_NAME) {
      // Each entry holds 13 characters in three places; a zero ends the name, and what follows is filled.
      const part = new Uint8Array(26);
      part.set(directory.part(at + 1, 10));
      part.set(directory.part(at + 14, 12), 10);
      part.set(directory.part(at + 28, 4), 22);
      longName = new Fields(part, 'FAT long name').utf16(0, 26) + ((first & 0x40) !== 0 ? '' : longName);
    } else {
      const name = longName === '' ? shortName(directory, at) : longName;
      longName = '';
      if ((attributes & ATTRIBUTE_VOLUME) !== 0 || name === '.' || name === '..') continue;
      if (entries.length >= DIRECTORY_ENTRY_COUNT_MAX)
        throw tooMany('FAT directory', DIRECTORY_ENTRY_COUNT_MAX);
      const cluster = directory.u16(at + 20) * 0x10000 + directory.u16(at + 26);
      const kind = (attributes & ATTRIBUTE_DIRECTORY) !== 0 ? 'd' : 'f';
      entries.push({ name, place: `${cluster}:${directory.u32(at + 28)}:${kind}` });
    }
  }
  return entries;
}

/** Windows NT and Linux keep the case of a short name in two bits. */
function shortName(directory: Fields, at: number): string {
  const cases = directory.u8(at + 12);
  const cased = (text: string, bit: number) => ((cases & bit) !== 0 ? text.toLowerCase() : text);
  const stem = cased(directory.latin1(at, 8).trimEnd(), 0x08);
  const extension = cased(directory.latin1(at + 8, 3).trimEnd(), 0x10);
  return extension === '' ? stem : `${stem}.${extension}`;
}
