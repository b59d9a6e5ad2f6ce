import { viewOf } from '../../bytes/fields.ts';
import { encodeGrainMarker, GRAIN_MARKER_BYTES } from '../../bytes/grain-marker.ts';
import { ceilDivide, SECTOR_BYTES } from '../../bytes/numbers.ts';
import type { Layout, Piece } from '../../view/layout.ts';
import {
  bytesRegion,
  cutPieces,
  type Region,
  recordsRegion,
  regionsLayout,
  tableRegion,
  zeroRegion,
} from '../../view/regions.ts';
import type { StoredUnits } from '../../view/stored-units.ts';
import { encodeSparseHeader } from './header.ts';
import { encodeMetadataMarker, MARKER_TYPE } from './markers.ts';
import { DESCRIPTOR_SECTORS } from './new-descriptor.ts';
import {
  directoryRegion,
  GRAIN_SECTORS,
  TABLE_ENTRIES,
  TABLE_SECTORS,
  tableCounts,
} from './sparse-layout.ts';
import { frontSectors, HEAD_SECTORS, requireSector, streamHeader, TABLE_BYTES } from './stream-tables.ts';

export interface StoredStreamPlan {
  readonly capacitySectors: number;
  /** Embedded, padded to its sectors. */
  readonly descriptor: Uint8Array;
  readonly tables: 'end' | 'front';
}

/**
 * A streamOptimized file of grains that are compressed already: what `optimizedStream` would write of the same
 * grains, with an exact length. No byte is compressed or decompressed to show it.
 */
export function storedStreamLayout(grains: StoredUnits, plan: StoredStreamPlan): Layout {
  return regionsLayout(
    'vmdk',
    plan.tables === 'end' ? tablesAtEnd(grains, plan) : tablesInFront(grains, plan),
  );
}

function tablesAtEnd(grains: StoredUnits, { capacitySectors, descriptor }: StoredStreamPlan): Region[] {
  const header = streamHeader(capacitySectors, HEAD_SECTORS);
  const records = new Records(grains, HEAD_SECTORS, 1 + TABLE_SECTORS);
  const { directorySectors } = tableCounts(grains.map.blockCount);
  const directorySector = records.endSector + 1;
  return [
    bytesRegion(encodeSparseHeader(header)),
    bytesRegion(descriptor),
    zeroRegion((HEAD_SECTORS - 1 - DESCRIPTOR_SECTORS) * SECTOR_BYTES),
    records.region(),
    bytesRegion(encodeMetadataMarker(MARKER_TYPE.grainDirectory, directorySectors)),
    tableRegion((directorySectors * SECTOR_BYTES) / 4, 4, (first, count, bytes) => {
      const view = viewOf(bytes);
      for (let i = 0; i < count; i++) view.setUint32(i * 4, records.tableSector(first + i), true);
    }),
    bytesRegion(encodeMetadataMarker(MARKER_TYPE.footer, 1)),
    bytesRegion(encodeSparseHeader({ ...header, directorySector: requireSector(directorySector) })),
    bytesRegion(encodeMetadataMarker(MARKER_TYPE.endOfStream, 0)),
  ];
}

function tablesInFront(grains: StoredUnits, { capacitySectors, descriptor }: StoredStreamPlan): Region[] {
  const { tableCount, directorySectors } = tableCounts(grains.map.blockCount);
  const overheadSectors = frontSectors(tableCount, directorySectors);
  const directorySector = 1 + DESCRIPTOR_SECTORS;
  const firstTable = directorySector + directorySectors;
  const records = new Records(grains, overheadSectors, 0);
  requireSector(records.endSector);
  return [
    bytesRegion(encodeSparseHeader({ ...streamHeader(capacitySectors, overheadSectors), directorySector })),
    bytesRegion(descriptor),
    directoryRegion(tableCount, directorySectors, firstTable),
    recordsRegion(tableCount, TABLE_BYTES, (table) => [records.table(table)]),
    zeroRegion((overheadSectors - firstTable - tableCount * TABLE_SECTORS) * SECTOR_BYTES),
    records.region(),
    bytesRegion(encodeMetadataMarker(MARKER_TYPE.endOfStream, 0)),
  ];
}

interface GrainRecord {
  readonly grain: number;
  /** Among the used ones. */
  readonly rank: number;
  /** Of the compressed data. */
  readonly lengthBytes: number;
  /** With marker and padding. */
  readonly recordSectors: number;
}

/** The grains' records in guest order, those of a table followed by what else stands behind them. */
class Records {
  readonly endSector: number;
  readonly #grains: StoredUnits;
  readonly #tailSectors: number;
  /** Where the records of each table begin, and behind the last where they end. Equal for one without grains. */
  readonly #starts: Float64Array;

  /** `tailSectors` is what the table takes with its marker, when it stands behind its grains. */
  constructor(grains: StoredUnits, startSector: number, tailSectors: number) {
    const { map } = grains;
    const tableCount = ceilDivide(map.blockCount, TABLE_ENTRIES);
    this.#grains = grains;
    this.#tailSectors = tailSectors;
    this.#starts = new Float64Array(tableCount + 1);
    let sector = startSector;
    for (let table = 0; table < tableCount; table++) {
      this.#starts[table] = sector;
      const first = sector;
      for (const { recordSectors } of this.#used(table)) sector += recordSectors;
      if (sector > first) sector += tailSectors;
    }
    this.#starts[tableCount] = sector;
    this.endSector = sector;
  }

  region(): Region {
    const startSector = this.#starts[0] ?? 0;
    const piecesOf = (from: number, to: number) => this.#pieces(startSector * SECTOR_BYTES + from, to - from);
    return { lengthBytes: (this.endSector - startSector) * SECTOR_BYTES, pieces: piecesOf };
  }

  /** Where a table stands behind its grains; 0 for one without. */
  tableSector(table: number): number {
    const [start = 0, end = 0] = this.#starts.subarray(table, table + 2);
    return end > start ? requireSector(end - TABLE_SECTORS) : 0;
  }

  /** The entries of a table. */
  table(table: number): Piece {
    const [start = 0, end = 0] = this.#starts.subarray(table, table + 2);
    if (start === end) return { kind: 'zero', lengthBytes: TABLE_BYTES };
    const bytes = new Uint8Array(TABLE_BYTES);
    const view = viewOf(bytes);
    let sector = start;
    for (const { grain, recordSectors } of this.#used(table)) {
      view.setUint32((grain % TABLE_ENTRIES) * 4, requireSector(sector), true);
      sector += recordSectors;
    }
    return { kind: 'bytes', bytes };
  }

  *#pieces(fromBytes: number, lengthBytes: number): Iterable<Piece> {
    const endBytes = fromBytes + lengthBytes;
    for (let table = this.#tableAt(fromBytes / SECTOR_BYTES); table < this.#starts.length - 1; table++) {
      const startBytes = (this.#starts[table] ?? 0) * SECTOR_BYTES;
      if (startBytes >= endBytes) return;
      yield* cutPieces(this.#tablePieces(table), Math.max(0, fromBytes - startBytes), endBytes - startBytes);
    }
  }

  *#tablePieces(table: number): Iterable<Piece> {
    let isEmpty = true;
    for (const { grain, rank, lengthBytes, recordSectors } of this.#used(table)) {
      isEmpty = false;
      yield { kind: 'bytes', bytes: encodeGrainMarker(grain * GRAIN_SECTORS, lengthBytes) };
      yield* this.#grains.pieces(grain, rank);
      yield { kind: 'zero', lengthBytes: recordSectors * SECTOR_BYTES - GRAIN_MARKER_BYTES - lengthBytes };
    }
    if (isEmpty || this.#tailSectors === 0) return;
    yield { kind: 'bytes', bytes: encodeMetadataMarker(MARKER_TYPE.grainTable, TABLE_SECTORS) };
    yield this.table(table);
  }

  /** The last table whose records begin at or before this sector. */
  #tableAt(sector: number): number {
    let low = 0;
    let high = this.#starts.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if ((this.#starts[middle] ?? 0) <= sector) low = middle;
      else high = middle;
    }
    return low;
  }

  *#used(table: number): Iterable<GrainRecord> {
    const { map } = this.#grains;
    const first = table * TABLE_ENTRIES;
    let rank = map.rank(first);
    for (const grain of map.used(first, Math.min(first + TABLE_ENTRIES, map.blockCount))) {
      const lengthBytes = this.#grains.lengthOf(grain, rank);
      const recordSectors = ceilDivide(GRAIN_MARKER_BYTES + lengthBytes, SECTOR_BYTES);
      yield { grain, rank, lengthBytes, recordSectors };
      rank++;
    }
  }
}
