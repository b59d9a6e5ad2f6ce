import { type ByteSource, memorySource, readStructure } from '@gantry/disk';
import type { Budget } from '../budget.ts';
import { Fields, malformed, notRead, tooMany } from '../fields.ts';
import type { Findings } from '../findings.ts';
import { DIRECTORY_BYTES_MAX, DIRECTORY_ENTRY_COUNT_MAX, NTFS_ATTRIBUTE_COUNT_MAX } from '../limits.ts';
import type { DirectoryEntry, FileRun, FileSystem, GuestNode, RecognisedFileSystem } from './file-system.ts';
import { fixedUp } from './ntfs-fixup.ts';
import { isLogOpen, LOG_RESTART_BYTES } from './ntfs-log.ts';
import { Runs, wholeOf } from './runs.ts';

/** Numbers of attribute types, and of files that every volume has ([MS-FSCC] and the Linux driver's layout.h). */
const ATTRIBUTE_LIST = 0x20;
const VOLUME_INFORMATION = 0x70;
const DATA = 0x80;
const INDEX_ROOT = 0x90;
const INDEX_ALLOCATION = 0xa0;
const BITMAP = 0xb0;
const REPARSE_POINT = 0xc0;
const END = 0xffffffff;
const MFT_RECORD = 0;
const LOG_RECORD = 2;
const VOLUME_RECORD = 3;
const ROOT_RECORD = 5;

const FLAG_COMPRESSED = 0xff;
const FLAG_ENCRYPTED = 0x4000;
const FLAG_SPARSE = 0x8000;
const RECORD_IN_USE = 1;
const RECORD_DIRECTORY = 2;
const DOS_NAMESPACE = 2;
const VOLUME_DIRTY = 1;
/** Since Windows 10. */
const CLUSTER_BYTES_MAX: number = 2 * 1024 * 1024;
const INDEX_NAME = '$I30';

interface Geometry {
  readonly clusterBytes: number;
  readonly recordBytes: number;
  readonly mftBytes: number;
}

/** NTFS by its boot sector. The log is not replayed. */
export function recogniseNtfs(
  volume: ByteSource,
  boot: Fields,
  budget: Budget,
  where: string,
  findings: Findings,
): RecognisedFileSystem {
  return {
    kind: 'ntfs',
    uuid: boot.big(72).toString(16).toUpperCase().padStart(16, '0'),
    async open() {
      const ntfs = await Ntfs.open(volume, geometryOf(boot), budget);
      if (await ntfs.isDirty()) {
        findings.add({
          severity: 'warning',
          code: 'NTFS_DIRTY',
          where,
          message: 'the file system is marked dirty: it was not unmounted, or is damaged',
          hint: 'shut Windows down (shutdown /s /f /t 0, which leaves nothing hibernated) before its disk is copied; it is checked at its next start',
        });
      }
      if (await findings.guard(`${where}: $LogFile`, () => ntfs.isLogOpen())) {
        findings.add({
          severity: 'warning',
          code: 'JOURNAL_NOT_REPLAYED',
          where,
          message: 'the file system was not unmounted: what its log holds was not looked at',
          hint: 'shut Windows down (shutdown /s /f /t 0) before its disk is copied; else it replays the log at its next start',
        });
      }
      return ntfs;
    },
  };
}

function geometryOf(boot: Fields): Geometry {
  const sectorBytes = boot.u16(11);
  const perCluster = boot.u8(13);
  const clusterBytes = sectorBytes * (perCluster > 0x80 ? 2 ** (256 - perCluster) : perCluster);
  const perRecord = boot.u8(64);
  const recordBytes = perRecord > 0x80 ? 2 ** (256 - perRecord) : perRecord * clusterBytes;
  const isSound =
    [512, 1024, 2048, 4096].includes(sectorBytes) &&
    clusterBytes >= 512 &&
    clusterBytes <= CLUSTER_BYTES_MAX &&
    [1024, 2048, 4096].includes(recordBytes);
  if (!isSound) throw boot.malformed('sizes that no file system has');
  return { clusterBytes, recordBytes, mftBytes: boot.u64(48) * clusterBytes };
}

/** One part of an attribute: its value in the record, or the part of its runs that the record holds. */
interface Attribute {
  readonly type: number;
  readonly name: string;
  readonly flags: number;
  /** The attribute from its start, in its record. */
  readonly fields: Fields;
  readonly isResident: boolean;
}

interface FileRecord {
  readonly number: number;
  readonly flags: number;
  readonly attributes: readonly Attribute[];
}

/** A place is the number of the file's record in the MFT. */
class Ntfs implements FileSystem {
  readonly root: string = String(ROOT_RECORD);
  readonly ignoresCase = true;
  readonly #volume: ByteSource;
  readonly #geometry: Geometry;
  readonly #budget: Budget;
  #mft: ByteSource;

  private constructor(volume: ByteSource, geometry: Geometry, budget: Budget, firstRecords: ByteSource) {
    this.#volume = volume;
    this.#geometry = geometry;
    this.#budget = budget;
    this.#mft = firstRecords;
  }

  static async open(volume: ByteSource, geometry: Geometry, budget: Budget): Promise<Ntfs> {
    const { mftBytes, recordBytes } = geometry;
    const first = await readStructure(volume, mftBytes, recordBytes, 'NTFS MFT');
    const ntfs = new Ntfs(volume, geometry, budget, memorySource(first, 'NTFS MFT'));
    const { source } = await ntfs.#stream(await ntfs.#record(MFT_RECORD), DATA, '', Number.MAX_SAFE_INTEGER);
    ntfs.#mft = source;
    // Parts of the MFT's runs may stand in records that only the first part leads to.
    const again = await ntfs.#stream(await ntfs.#record(MFT_RECORD), DATA, '', Number.MAX_SAFE_INTEGER);
    ntfs.#mft = again.source;
    return ntfs;
  }

  async isDirty(): Promise<boolean> {
    const record = await this.#record(VOLUME_RECORD);
    const information = record.attributes.find(
      ({ type, isResident }) => type === VOLUME_INFORMATION && isResident,
    );
    return information !== undefined && (contentOf(information).u16(10) & VOLUME_DIRTY) !== 0;
  }

  /** Its log is to be replayed. */
  async isLogOpen(): Promise<boolean> {
    const record = await this.#record(LOG_RECORD);
    const { source } = await this.#stream(record, DATA, '', LOG_RESTART_BYTES);
    return isLogOpen(new Fields(await wholeOf(source, LOG_RESTART_BYTES, 'NTFS log'), 'NTFS log'));
  }

  async node(place: string): Promise<GuestNode> {
    const record = await this.#record(Number(place));
    if ((record.flags & RECORD_DIRECTORY) !== 0) return { place, kind: 'directory', sizeBytes: 0 };
    const data = (await this.#attributes(record)).find(({ type, name }) => type === DATA && name === '');
    if (data === undefined) return { place, kind: 'other', sizeBytes: 0 };
    const sizeBytes = data.isResident ? data.fields.u32(16) : data.fields.u64(48);
    return { place, kind: 'file', sizeBytes };
  }

  /** The entries of the root node and of every block of the index that is in use: their order does not matter here. */
  async list(directory: GuestNode): Promise<readonly DirectoryEntry[]> {
    const record = await this.#record(Number(directory.place));
    const structure = `NTFS directory ${record.number}`;
    const attributes = await this.#attributes(record);
    const isIndex = (wanted: number) => (one: Attribute) => one.type === wanted && one.name === INDEX_NAME;
    const root = attributes.find(isIndex(INDEX_ROOT));
    if (root === undefined || !root.isResident) throw malformed(structure, 'it has no index');
    const value = contentOf(root);
    const entries: DirectoryEntry[] = [];
    this.#addEntries(entries, value.fields(16, value.lengthBytes - 16, structure));
    if (!attributes.some(isIndex(INDEX_ALLOCATION))) return entries;
    const blockBytes = value.u32(8);
    if (![512, 1024, 2048, 4096, 8192, 16384, 32768, 65536].includes(blockBytes))
      throw malformed(structure, `blocks of ${blockBytes} bytes`);
    const bitmap = await this.#stream(record, BITMAP, INDEX_NAME, DIRECTORY_BYTES_MAX);
    const used = await wholeOf(bitmap.source, DIRECTORY_BYTES_MAX, structure);
    const { source } = await this.#stream(record, INDEX_ALLOCATION, INDEX_NAME, DIRECTORY_BYTES_MAX);
    for (let index = 0; (index + 1) * blockBytes <= source.lengthBytes; index++) {
      if (((used[Math.floor(index / 8)] ?? 0) & (1 << (index % 8))) === 0) continue;
      const bytes = await readStructure(source, index * blockBytes, blockBytes, structure);
      const block = fixedUp(bytes, 'INDX', structure);
      this.#addEntries(entries, block.fields(24, block.lengthBytes - 24, structure));
    }
    return entries;
  }

  async open(file: GuestNode, limitBytes: number): Promise<ByteSource> {
    return (await this.#stream(await this.#plainFile(file), DATA, '', limitBytes)).source;
  }

  async runs(file: GuestNode): Promise<readonly FileRun[]> {
    const record = await this.#plainFile(file);
    const { first, parts, structure } = await this.#parts(record, DATA, '');
    if (first.isResident) throw notRead(structure, 'it is small, and kept in the file table');
    if ((first.flags & FLAG_SPARSE) !== 0) throw notRead(structure, 'it is sparse');
    return (await this.#runs(parts, structure, Number.MAX_SAFE_INTEGER)).runs.list;
  }

  async #plainFile(file: GuestNode): Promise<FileRecord> {
    const record = await this.#record(Number(file.place));
    if (record.attributes.some(({ type }) => type === REPARSE_POINT))
      throw notRead(
        `NTFS file, record ${file.place}`,
        'it is a link, or its data is kept or compressed elsewhere (reparse point)',
      );
    return record;
  }

  /** An index node: entries behind each other, each with a copy of a file's name. */
  #addEntries(entries: DirectoryEntry[], node: Fields): void {
    const end = node.u32(4);
    for (let at = node.u32(0); at + 16 <= end; ) {
      this.#budget.step();
      const length = node.u16(at + 8);
      if ((node.u16(at + 12) & 2) !== 0) return;
      if (length < 16) throw node.malformed('an entry of its index has no length');
      const key = node.fields(at + 16, node.u16(at + 10));
      const characters = key.u8(64);
      if (key.u8(65) !== DOS_NAMESPACE) {
        const name = key.utf16(66, characters * 2);
        if (entries.length >= DIRECTORY_ENTRY_COUNT_MAX)
          throw tooMany('NTFS directory', DIRECTORY_ENTRY_COUNT_MAX);
        if (name !== '.' && name !== '') entries.push({ name, place: String(recordNumber(node, at)) });
      }
      at += length;
    }
  }

  async #record(number: number): Promise<FileRecord> {
    this.#budget.step();
    const { recordBytes } = this.#geometry;
    const structure = `NTFS file record ${number}`;
    const bytes = await readStructure(this.#mft, number * recordBytes, recordBytes, structure);
    const record = fixedUp(bytes, 'FILE', structure);
    const flags = record.u16(22);
    if ((flags & RECORD_IN_USE) === 0) throw record.malformed('it is not in use');
    const attributes: Attribute[] = [];
    for (let at = record.u16(20); record.u32(at) !== END; ) {
      this.#budget.step();
      const length = record.u32(at + 4);
      if (length < 24 || length % 8 !== 0) throw record.malformed('an attribute has no length');
      const fields = record.fields(at, length);
      attributes.push({
        type: fields.u32(0),
        name: fields.utf16(fields.u16(10), fields.u8(9) * 2),
        flags: fields.u16(12),
        fields,
        isResident: fields.u8(8) === 0,
      });
      at += length;
    }
    return { number, flags, attributes };
  }

  /** The attributes of a file, also those that its list says to be in other records. */
  async #attributes(record: FileRecord): Promise<readonly Attribute[]> {
    const list = record.attributes.find(({ type }) => type === ATTRIBUTE_LIST);
    if (list === undefined) return record.attributes;
    const structure = `NTFS attribute list of record ${record.number}`;
    const source = list.isResident
      ? memorySource(contentOf(list).bytes)
      : await this.#nonResident([list], structure, DIRECTORY_BYTES_MAX);
    const fields = new Fields(await wholeOf(source, DIRECTORY_BYTES_MAX, structure), structure);
    const numbers = new Set<number>();
    for (let at = 0; at + 26 <= fields.lengthBytes; ) {
      this.#budget.step();
      const length = fields.u16(at + 4);
      if (length < 26) throw fields.malformed('an entry has no length');
      numbers.add(recordNumber(fields, at + 16));
      if (numbers.size > NTFS_ATTRIBUTE_COUNT_MAX) throw tooMany(structure, NTFS_ATTRIBUTE_COUNT_MAX);
      at += length;
    }
    numbers.delete(record.number);
    const attributes = [...record.attributes];
    for (const number of numbers) {
      // The MFT reads its own list before all of its records can be reached.
      if (record.number === MFT_RECORD && (number + 1) * this.#geometry.recordBytes > this.#mft.lengthBytes)
        continue;
      attributes.push(...(await this.#record(number)).attributes);
    }
    return attributes;
  }

  async #stream(
    record: FileRecord,
    type: number,
    name: string,
    limitBytes: number,
  ): Promise<{ source: ByteSource }> {
    const { first, parts, structure } = await this.#parts(record, type, name);
    if (first.isResident) {
      const value = contentOf(first).bytes;
      return { source: memorySource(value.subarray(0, Math.min(value.length, limitBytes)), structure) };
    }
    return { source: await this.#nonResident(parts, structure, limitBytes) };
  }

  /** All parts of an attribute. Throws IMAGE_UNSUPPORTED for one that is not kept as it is. */
  async #parts(
    record: FileRecord,
    type: number,
    name: string,
  ): Promise<{ first: Attribute; parts: readonly Attribute[]; structure: string }> {
    const structure = `NTFS file, record ${record.number}`;
    const parts = (await this.#attributes(record)).filter((one) => one.type === type && one.name === name);
    const [first] = parts;
    if (first === undefined) throw malformed(structure, 'an attribute of it is missing');
    if ((first.flags & FLAG_ENCRYPTED) !== 0) throw notRead(structure, 'it is encrypted');
    if (!first.isResident && (first.flags & FLAG_COMPRESSED) !== 0)
      throw notRead(structure, 'it is compressed');
    return { first, parts, structure };
  }

  async #nonResident(
    parts: readonly Attribute[],
    structure: string,
    limitBytes: number,
  ): Promise<ByteSource> {
    const { runs, lengthBytes } = await this.#runs(parts, structure, limitBytes);
    return runs.source(this.#volume, lengthBytes);
  }

  /** Runs of clusters, each counted from the one before; what was not initialised reads as zeros. */
  async #runs(
    parts: readonly Attribute[],
    structure: string,
    limitBytes: number,
  ): Promise<{ runs: Runs; lengthBytes: number }> {
    const { clusterBytes } = this.#geometry;
    const sorted = [...parts].sort((a, b) => a.fields.u64(16) - b.fields.u64(16));
    const [first] = sorted;
    if (first === undefined || first.fields.u64(16) !== 0)
      throw malformed(structure, 'the first part of its runs is missing');
    const lengthBytes = Math.min(first.fields.u64(48), limitBytes);
    const initialisedBytes = first.fields.u64(56);
    const runs = new Runs(structure, this.#budget);
    for (const { fields } of sorted) {
      let fileCluster = fields.u64(16);
      let cluster = 0;
      for (let at = fields.u16(32); fields.u8(at) !== 0; ) {
        const head = fields.u8(at++);
        const lengthSize = head % 16;
        const placeSize = Math.floor(head / 16);
        if (lengthSize < 1 || lengthSize > 8 || placeSize > 8)
          throw malformed(structure, 'a run has no length');
        const count = numberOf(fields.part(at, lengthSize), false);
        at += lengthSize;
        if (placeSize > 0) {
          cluster += numberOf(fields.part(at, placeSize), true);
          at += placeSize;
          if (cluster < 0) throw malformed(structure, 'a run lies before the volume');
          const startBytes = fileCluster * clusterBytes;
          const runBytes = Math.min(count * clusterBytes, Math.max(0, initialisedBytes - startBytes));
          runs.add(startBytes, cluster * clusterBytes, runBytes);
        }
        fileCluster += count;
        if (fileCluster * clusterBytes >= limitBytes) break;
      }
    }
    return { runs, lengthBytes };
  }
}

/** The value of a resident attribute. */
function contentOf({ fields }: Attribute): Fields {
  return fields.fields(fields.u16(20), fields.u32(16));
}

/** 48 bits of a file reference; the rest counts how often the record was used. */
function recordNumber(fields: Fields, at: number): number {
  return fields.u32(at) + fields.u16(at + 4) * 2 ** 32;
}

/** Little-endian bytes, up to eight. Throws IMAGE_MALFORMED beyond what a number holds. */
function numberOf(bytes: Uint8Array, isSigned: boolean): number {
  let value = 0n;
  for (let index = bytes.length - 1; index >= 0; index--) value = value * 256n + BigInt(bytes[index] ?? 0);
  const signed = isSigned ? BigInt.asIntN(bytes.length * 8, value) : value;
  const number = Number(signed);
  if (!Number.isSafeInteger(number)) throw malformed('NTFS run', 'it lies outside any disk');
  return number;
}
