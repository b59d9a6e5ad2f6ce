import { isZero, latin1Text } from '../../bytes/fields.ts';
import { compressedBytesMax, GRAIN_MARKER_BYTES, grainDataBytes } from '../../bytes/grain-marker.ts';
import { roundUp, SECTOR_BYTES } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import type { OpenOptions } from '../../formats/format.ts';
import { type Descriptor, parseDescriptor } from '../../formats/vmdk/descriptor.ts';
import { directoryProblems, readDirectory, sameShape } from '../../formats/vmdk/directory.ts';
import { readSparseHeader, type SparseHeader } from '../../formats/vmdk/header.ts';
import { vmdkKind } from '../../formats/vmdk/kind.ts';
import { DESCRIPTOR_BYTES_MAX } from '../../formats/vmdk/limits.ts';
import { readFooter } from '../../formats/vmdk/markers.ts';
import { GrainTables, requireSoundDirectory } from '../../formats/vmdk/tables.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import { decompress } from '../../io/node-codec.ts';
import type { FormatFacts } from '../profile.ts';
import { Tally } from './tally.ts';

const HEAD_BYTES = 64 * 1024;

export interface VmdkFacts extends FormatFacts {
  /** Undefined for a file of which nothing else is known. */
  readonly kind: ReturnType<typeof vmdkKind>;
  readonly descriptor: Descriptor | undefined;
  /** As it stands in the file, up to the first NUL. */
  readonly descriptorText: string;
  readonly sparse: SparseFacts | undefined;
}

/** What a hosted sparse extent is made of. */
export interface SparseFacts {
  /** The one in the first sector: its footer may say more. */
  readonly header: SparseHeader;
  /** False when both directories exist and do not agree, or not in every table. */
  readonly copiesAgree: boolean;
  /** Grains that stand before one of a lower place on the disk. */
  readonly unordered: Tally;
  /** Compressed grains of which the record, marker and all, does not fit into a grain and a sector. */
  readonly longRecords: Tally;
  /** False when the last grain of the disk is compressed and gives less than a whole one. */
  readonly lastGrainIsWhole: boolean;
  /** True for a compressed file that ends, behind its last grain, with an end-of-stream marker. */
  readonly hasStreamEnd: boolean;
}

/** Reads the header, the descriptor, and every grain table once; of the grains, single markers. */
export async function vmdkFacts(source: ByteSource, options: OpenOptions): Promise<VmdkFacts> {
  const { signal } = options;
  const fileLengthBytes = source.lengthBytes;
  const head = await readStructure(source, 0, Math.min(HEAD_BYTES, fileLengthBytes), 'VMDK file', signal);
  const kind = vmdkKind(head);
  if (kind === 'descriptor') {
    const lengthBytes = Math.min(fileLengthBytes, DESCRIPTOR_BYTES_MAX);
    const bytes = await readStructure(source, 0, lengthBytes, 'VMDK descriptor', signal);
    const descriptor = parseDescriptor(bytes);
    const sectors = descriptor.extents.reduce((sum, { sectorCount }) => sum + sectorCount, 0);
    const virtualSizeBytes = sectors * SECTOR_BYTES;
    const descriptorText = textOf(bytes);
    return { kind, virtualSizeBytes, fileLengthBytes, descriptor, descriptorText, sparse: undefined };
  }
  if (kind !== 'sparse') {
    return {
      kind,
      virtualSizeBytes: undefined,
      fileLengthBytes,
      descriptor: undefined,
      descriptorText: '',
      sparse: undefined,
    };
  }
  const header = await readSparseHeader(source, signal);
  const { descriptorSector, descriptorSectorCount } = header;
  const bytes = await readStructure(
    source,
    descriptorSector * SECTOR_BYTES,
    descriptorSectorCount * SECTOR_BYTES,
    'VMDK descriptor',
    signal,
  );
  const descriptorText = textOf(bytes);
  return {
    kind,
    virtualSizeBytes: header.capacitySectors * SECTOR_BYTES,
    fileLengthBytes,
    descriptor: descriptorText === '' ? undefined : parseDescriptor(bytes),
    descriptorText,
    sparse: header.capacitySectors === 0 ? undefined : await sparseFacts(source, header, signal),
  };
}

function textOf(bytes: Uint8Array): string {
  const nul = bytes.indexOf(0);
  return latin1Text(nul < 0 ? bytes : bytes.subarray(0, nul));
}

async function sparseFacts(
  source: ByteSource,
  header: SparseHeader,
  signal: AbortSignal | undefined,
): Promise<SparseFacts> {
  const hasFooter = header.directorySector === undefined;
  const complete = hasFooter ? await readFooter(source, header, signal) : header;
  const structure = 'VMDK grain directory';
  const sector = complete.directorySector ?? 0;
  const directory = await readDirectory(source, complete, sector, structure, signal);
  // One table under many entries would make the walk as long as the disk says.
  requireSoundDirectory(source, complete, sector, directory);
  const tables = new GrainTables(source, complete, directory);
  const walk = new GrainWalk(source, complete, tables);
  const copy = await redundantCopy(source, complete, signal);
  let copiesAgree = copy === undefined || (copy !== 'unsound' && sameShape(directory, copy.directory));
  for (let index = 0; index < directory.length; index++) {
    signal?.throwIfAborted();
    const table = await tables.table(index, signal);
    if (table === undefined) continue;
    await walk.table(index, table, signal);
    const other = copiesAgree && copy instanceof GrainTables ? await copy.table(index, signal) : undefined;
    if (other?.some((entry, i) => entry !== table[i]) === true) copiesAgree = false;
  }
  return {
    header,
    copiesAgree,
    unordered: walk.unordered,
    longRecords: walk.longRecords,
    lastGrainIsWhole: await walk.lastGrainIsWhole(signal),
    // A footer is found only in front of one.
    hasStreamEnd: hasFooter || (await walk.hasStreamEnd(signal)),
  };
}

async function redundantCopy(
  source: ByteSource,
  header: SparseHeader,
  signal: AbortSignal | undefined,
): Promise<GrainTables | 'unsound' | undefined> {
  const sector = header.redundantDirectorySector;
  if (sector === undefined) return undefined;
  const directory = await readDirectory(source, header, sector, 'VMDK redundant grain directory', signal);
  for (const _ of directoryProblems(source, header, sector, directory)) return 'unsound';
  return new GrainTables(source, header, directory);
}

/** Goes through the grains in the order of the disk. */
class GrainWalk {
  readonly unordered: Tally = new Tally();
  readonly longRecords: Tally = new Tally();
  readonly #source: ByteSource;
  readonly #header: SparseHeader;
  readonly #tables: GrainTables;
  readonly #grainBytes: number;
  /** Of the grain before, and the furthest of all. */
  #sector = 0;
  #lastSector = 0;
  /** Of the last grain of the disk. */
  #endSector = 0;

  constructor(source: ByteSource, header: SparseHeader, tables: GrainTables) {
    this.#source = source;
    this.#header = header;
    this.#tables = tables;
    this.#grainBytes = header.grainSectors * SECTOR_BYTES;
  }

  async table(index: number, table: Uint32Array, signal: AbortSignal | undefined): Promise<void> {
    const header = this.#header;
    const grainCount = Math.ceil(header.capacitySectors / header.grainSectors);
    for (const [entry, sector] of table.entries()) {
      if (sector === 0 || this.#tables.isZeroed(sector)) continue;
      const grain = index * header.tableEntryCount + entry;
      if (grain >= grainCount) continue;
      const entryBytes = this.#tables.entryOffset(index, entry);
      if (sector < this.#sector) this.unordered.add(entryBytes);
      if (header.compressed) await this.#record(this.#sector, sector, signal);
      this.#sector = sector;
      this.#lastSector = Math.max(this.#lastSector, sector);
      if (grain === grainCount - 1) this.#endSector = sector;
    }
  }

  /** The record before is as long as what lies between, at most: its marker is read only where that is much. */
  async #record(before: number, sector: number, signal: AbortSignal | undefined): Promise<void> {
    const fits = roundUp(this.#grainBytes + 1, SECTOR_BYTES);
    if (before === 0 || (sector > before && (sector - before) * SECTOR_BYTES <= fits)) return;
    const lengthBytes = GRAIN_MARKER_BYTES + (await this.#dataBytes(before, signal));
    if (lengthBytes > fits) this.longRecords.add(before * SECTOR_BYTES);
  }

  async #dataBytes(sector: number, signal: AbortSignal | undefined): Promise<number> {
    const at = sector * SECTOR_BYTES;
    return grainDataBytes(
      await readStructure(this.#source, at, GRAIN_MARKER_BYTES, 'VMDK grain marker', signal),
    );
  }

  async lastGrainIsWhole(signal: AbortSignal | undefined): Promise<boolean> {
    if (!this.#header.compressed || this.#endSector === 0) return true;
    const structure = 'VMDK compressed grain';
    const lengthBytes = await this.#dataBytes(this.#endSector, signal);
    if (lengthBytes > compressedBytesMax(this.#grainBytes)) return false;
    const at = this.#endSector * SECTOR_BYTES + GRAIN_MARKER_BYTES;
    const data = await readStructure(this.#source, at, lengthBytes, structure, signal);
    try {
      await decompress('zlib', data, this.#grainBytes, structure, at);
      return true;
    } catch (error) {
      if (error instanceof ImageError) return false;
      throw error;
    }
  }

  /** A sector of zeros behind the last grain, or behind the header and the tables where there is none. */
  async hasStreamEnd(signal: AbortSignal | undefined): Promise<boolean> {
    if (!this.#header.compressed) return true;
    if (this.#lastSector > 0) await this.#record(this.#lastSector, 0, signal);
    const at =
      this.#lastSector === 0
        ? this.#header.overheadSectors * SECTOR_BYTES
        : roundUp(
            this.#lastSector * SECTOR_BYTES +
              GRAIN_MARKER_BYTES +
              (await this.#dataBytes(this.#lastSector, signal)),
            SECTOR_BYTES,
          );
    if (at + SECTOR_BYTES > this.#source.lengthBytes) return false;
    return isZero(await readStructure(this.#source, at, SECTOR_BYTES, 'VMDK end-of-stream marker', signal));
  }
}
