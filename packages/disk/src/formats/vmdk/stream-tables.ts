import { viewOf } from '../../bytes/fields.ts';
import { roundUp, SECTOR_BYTES } from '../../bytes/numbers.ts';
import { ImageError, invariant } from '../../errors.ts';
import type { ChunkPacker } from '../../view/chunk-packer.ts';
import { bytesRegion, type Region, recordsRegion, zeroRegion } from '../../view/regions.ts';
import { encodeSparseHeader, type NewHeader } from './header.ts';
import { FILE_SECTORS_MAX } from './limits.ts';
import { encodeMetadataMarker, MARKER_TYPE, type MarkerType } from './markers.ts';
import { DESCRIPTOR_SECTORS } from './new-descriptor.ts';
import {
  directoryRegion,
  GRAIN_SECTORS,
  TABLE_ENTRIES,
  TABLE_SECTORS,
  tableCounts,
} from './sparse-layout.ts';

export const TABLE_BYTES: number = TABLE_SECTORS * SECTOR_BYTES;

/** The tables of a streamOptimized file, made as its grains come in guest order. */
export interface StreamTables {
  /** What comes last, as `front`; 0 where `start` appends all that stands before the first grain. */
  readonly frontBytes: number;
  start(out: ChunkPacker): void;
  /** Called before a grain's record of so many sectors is appended. */
  add(out: ChunkPacker, grain: number, recordSectors: number): void;
  end(out: ChunkPacker): void;
  /** What fills the front. */
  front(): readonly Region[];
  save(): Uint8Array;
  restore(saved: Uint8Array): void;
}

/** Sectors that the tables of this many grains in this many tables take beside the records, with the end. */
export function maximumTableSectors(
  kind: 'end' | 'front',
  virtualGrainCount: number,
  usedTableCount: number,
): number {
  const { tableCount, directorySectors } = tableCounts(virtualGrainCount);
  if (kind === 'front') return frontSectors(tableCount, directorySectors) + 1;
  return HEAD_SECTORS + usedTableCount * (1 + TABLE_SECTORS) + (1 + directorySectors) + 3;
}

/** Header and descriptor, padded to a grain; readers of the bare stream start here. */
export const HEAD_SECTORS = 128;

export function frontSectors(tableCount: number, directorySectors: number): number {
  return roundUp(1 + DESCRIPTOR_SECTORS + directorySectors + tableCount * TABLE_SECTORS, GRAIN_SECTORS);
}

export function streamHeader(capacitySectors: number, overheadSectors: number): NewHeader {
  return {
    version: 3,
    capacitySectors,
    grainSectors: GRAIN_SECTORS,
    tableEntryCount: TABLE_ENTRIES,
    descriptorSectorCount: DESCRIPTOR_SECTORS,
    overheadSectors,
    compressed: true,
  };
}

function nextSector(out: ChunkPacker): number {
  return requireSector(out.endBytes / SECTOR_BYTES);
}

/** The sector itself. Throws IMAGE_LIMIT when no table could name it. */
export function requireSector(sector: number): number {
  if (sector < FILE_SECTORS_MAX) return sector;
  throw new ImageError('IMAGE_LIMIT', 'the data does not fit into a streamOptimized VMDK of at most 2 TiB', {
    structure: 'VMDK sparse extent',
    hint: 'choose another format, such as qcow2',
  });
}

/**
 * The order that needs nothing patched: each table behind its grains, then the grain directory, the footer that
 * says where that is, and the end of the stream. Tables without grains are left out.
 */
export class TablesAtEnd implements StreamTables {
  readonly frontBytes = 0;
  readonly #descriptor: Uint8Array;
  readonly #header: NewHeader;
  readonly #directory: Uint8Array;
  #table = new Uint8Array(TABLE_BYTES);
  /** Index of the table that grains go to; -1 before the first. */
  #tableIndex = -1;

  constructor(capacitySectors: number, grainCount: number, descriptor: Uint8Array) {
    this.#descriptor = descriptor;
    this.#header = streamHeader(capacitySectors, HEAD_SECTORS);
    this.#directory = new Uint8Array(tableCounts(grainCount).directorySectors * SECTOR_BYTES);
  }

  start(out: ChunkPacker): void {
    out.append(encodeSparseHeader(this.#header));
    out.append(this.#descriptor);
    out.append(new Uint8Array((HEAD_SECTORS - 1 - DESCRIPTOR_SECTORS) * SECTOR_BYTES));
  }

  add(out: ChunkPacker, grain: number): void {
    const tableIndex = Math.floor(grain / TABLE_ENTRIES);
    if (tableIndex !== this.#tableIndex) this.#appendTable(out, tableIndex);
    viewOf(this.#table).setUint32((grain % TABLE_ENTRIES) * 4, nextSector(out), true);
  }

  end(out: ChunkPacker): void {
    this.#appendTable(out, -1);
    const directorySector = appendMetadata(out, MARKER_TYPE.grainDirectory, this.#directory);
    appendMetadata(out, MARKER_TYPE.footer, encodeSparseHeader({ ...this.#header, directorySector }));
    out.append(encodeMetadataMarker(MARKER_TYPE.endOfStream, 0));
  }

  front(): readonly Region[] {
    return [];
  }

  /** A number, the open table and the directory's entries before it: 8 MiB at 64 TiB, mostly little. */
  save(): Uint8Array {
    const directoryBytes = Math.max(0, this.#tableIndex) * 4;
    const bytes = new Uint8Array(8 + TABLE_BYTES + directoryBytes);
    viewOf(bytes).setFloat64(0, this.#tableIndex);
    bytes.set(this.#table, 8);
    bytes.set(this.#directory.subarray(0, directoryBytes), 8 + TABLE_BYTES);
    return bytes;
  }

  restore(saved: Uint8Array): void {
    this.#tableIndex = viewOf(saved).getFloat64(0);
    const directory = saved.subarray(8 + TABLE_BYTES);
    const isOurs = directory.length === Math.max(0, this.#tableIndex) * 4;
    invariant(isOurs, 'a checkpoint belongs to the same plan');
    this.#table.set(saved.subarray(8, 8 + TABLE_BYTES));
    this.#directory.set(directory);
  }

  /** Writes the table that grains went to, if any did, and starts the next. */
  #appendTable(out: ChunkPacker, nextIndex: number): void {
    if (this.#tableIndex >= 0) {
      const sector = appendMetadata(out, MARKER_TYPE.grainTable, this.#table);
      viewOf(this.#directory).setUint32(this.#tableIndex * 4, sector, true);
      this.#table = new Uint8Array(TABLE_BYTES);
    }
    this.#tableIndex = nextIndex;
  }
}

/** A marker and the metadata that it announces; gives the sector of the latter. */
function appendMetadata(out: ChunkPacker, type: MarkerType, bytes: Uint8Array): number {
  out.append(encodeMetadataMarker(type, bytes.length / SECTOR_BYTES));
  const sector = nextSector(out);
  out.append(bytes);
  return sector;
}

/** The grains of one table: where the first record stands, and for each grain its sectors, 0 where it has none. */
interface PlacedGrains {
  readonly startSector: number;
  readonly recordSectors: Uint8Array;
}

/**
 * The order of VMware's own tools: directory and all tables in front, then nothing but grains and the end of
 * the stream. 16 MiB of memory for 1 TiB of data: the records follow each other, so their lengths tell all.
 */
export class TablesInFront implements StreamTables {
  readonly frontBytes: number;
  readonly #descriptor: Uint8Array;
  readonly #header: Uint8Array;
  readonly #tableCount: number;
  readonly #directorySectors: number;
  readonly #placed = new Map<number, PlacedGrains>();

  constructor(capacitySectors: number, grainCount: number, descriptor: Uint8Array) {
    const { tableCount, directorySectors } = tableCounts(grainCount);
    this.#tableCount = tableCount;
    this.#directorySectors = directorySectors;
    this.#descriptor = descriptor;
    const overheadSectors = frontSectors(tableCount, directorySectors);
    this.frontBytes = overheadSectors * SECTOR_BYTES;
    const directorySector = 1 + DESCRIPTOR_SECTORS;
    this.#header = encodeSparseHeader({ ...streamHeader(capacitySectors, overheadSectors), directorySector });
  }

  start(): void {}

  add(out: ChunkPacker, grain: number, recordSectors: number): void {
    this.#place(grain, nextSector(out), recordSectors);
  }

  #place(grain: number, sector: number, recordSectors: number): void {
    const index = Math.floor(grain / TABLE_ENTRIES);
    let placed = this.#placed.get(index);
    if (placed === undefined) {
      placed = { startSector: sector, recordSectors: new Uint8Array(TABLE_ENTRIES) };
      this.#placed.set(index, placed);
    }
    placed.recordSectors[grain % TABLE_ENTRIES] = recordSectors;
  }

  end(out: ChunkPacker): void {
    out.append(encodeMetadataMarker(MARKER_TYPE.endOfStream, 0));
  }

  front(): readonly Region[] {
    const directorySectors = this.#directorySectors;
    const firstTable = 1 + DESCRIPTOR_SECTORS + directorySectors;
    const used = firstTable + this.#tableCount * TABLE_SECTORS;
    return [
      bytesRegion(this.#header),
      bytesRegion(this.#descriptor),
      directoryRegion(this.#tableCount, directorySectors, firstTable),
      recordsRegion(this.#tableCount, TABLE_BYTES, (index) => {
        const placed = this.#placed.get(index);
        if (placed === undefined) return [{ kind: 'zero', lengthBytes: TABLE_BYTES }];
        return [{ kind: 'bytes', bytes: tableOf(placed) }];
      }),
      zeroRegion(this.frontBytes - used * SECTOR_BYTES),
    ];
  }

  /** For every table with grains its index, the sector of the first and the length of each. */
  save(): Uint8Array {
    const bytes = new Uint8Array(this.#placed.size * (8 + TABLE_ENTRIES));
    const view = viewOf(bytes);
    let at = 0;
    for (const [index, { startSector, recordSectors }] of this.#placed) {
      view.setUint32(at, index);
      view.setUint32(at + 4, startSector);
      bytes.set(recordSectors, at + 8);
      at += 8 + TABLE_ENTRIES;
    }
    return bytes;
  }

  restore(saved: Uint8Array): void {
    const view = viewOf(saved);
    invariant(saved.length % (8 + TABLE_ENTRIES) === 0, 'a checkpoint belongs to the same plan');
    for (let at = 0; at < saved.length; at += 8 + TABLE_ENTRIES) {
      this.#placed.set(view.getUint32(at), {
        startSector: view.getUint32(at + 4),
        recordSectors: saved.slice(at + 8, at + 8 + TABLE_ENTRIES),
      });
    }
  }
}

function tableOf({ startSector, recordSectors }: PlacedGrains): Uint8Array {
  const bytes = new Uint8Array(TABLE_BYTES);
  const view = viewOf(bytes);
  let sector = startSector;
  for (const [entry, length] of recordSectors.entries()) {
    if (length === 0) continue;
    view.setUint32(entry * 4, sector, true);
    sector += length;
  }
  return bytes;
}
