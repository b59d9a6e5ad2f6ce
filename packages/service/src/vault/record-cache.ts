import type { VaultBlockRow } from '../db/schema.ts';
import { hashKey } from './block-index.ts';
import { headerFault, pieceFault, plainPiece, recordHash, recordTable, storedPiece } from './block-record.ts';
import { corrupt } from './errors.ts';
import { Lru } from './lru.ts';
import type { Segments } from './segments.ts';

const RECORDS_LIMIT_BYTES: number = 8 * 1024 * 1024;
const PIECES_LIMIT: number = 64;

/**
 * Records and pieces that were read last, checked: small reads one after the other cost one read of a
 * segment and one decompression for each piece. Keyed by content, so nothing in it ever gets stale.
 */
export class RecordCache {
  readonly #segments: Segments;
  readonly #reading: Map<string, Promise<Uint8Array>> = new Map();
  readonly #records: Lru<string, Uint8Array> = new Lru(RECORDS_LIMIT_BYTES, (record) => record.length);
  readonly #pieces: Lru<string, Uint8Array> = new Lru(PIECES_LIMIT);

  constructor(segments: Segments) {
    this.#segments = segments;
  }

  /** The stored bytes of a piece, which pass their CRC-32. Not to be changed. */
  async storedPiece(row: VaultBlockRow, piece: number): Promise<Uint8Array> {
    const record = await this.#record(row);
    const fault = pieceFault(record, piece);
    if (fault !== undefined) {
      this.#records.delete(hashKey(row.block_hash));
      throw blockCorrupt(this.#segments, row, fault);
    }
    return storedPiece(record, piece);
  }

  /** The guest bytes of a piece. Not to be changed. */
  async plainPiece(row: VaultBlockRow, piece: number): Promise<Uint8Array> {
    const key = `${hashKey(row.block_hash)}.${piece}`;
    const cached = this.#pieces.get(key);
    if (cached !== undefined) return cached;
    const plain = plainPiece(await this.storedPiece(row, piece));
    if (plain === undefined) throw blockCorrupt(this.#segments, row, `piece ${piece} does not decompress`);
    this.#pieces.set(key, plain);
    return plain;
  }

  async #record(row: VaultBlockRow): Promise<Uint8Array> {
    const key = hashKey(row.block_hash);
    const cached = this.#records.get(key);
    if (cached !== undefined) return cached;
    const reading = this.#reading.get(key);
    if (reading !== undefined) return reading;
    const begun = this.#read(row);
    this.#reading.set(key, begun);
    try {
      const record = await begun;
      this.#records.set(key, record);
      return record;
    } finally {
      this.#reading.delete(key);
    }
  }

  async #read(row: VaultBlockRow): Promise<Uint8Array> {
    const record = new Uint8Array(row.length_bytes);
    await this.#segments.read(row.segment_number, row.offset_bytes, [record]);
    requireRecordOf(this.#segments, row, record);
    return record;
  }
}

/** Throws STORE_CORRUPT unless the record's header is sound and says what the index says. */
export function requireRecordOf(segments: Segments, row: VaultBlockRow, record: Uint8Array): void {
  const fault = headerFault(record) ?? rowFault(row, record);
  if (fault !== undefined) throw blockCorrupt(segments, row, fault);
}

function rowFault(row: VaultBlockRow, record: Uint8Array): string | undefined {
  if (!equal(recordHash(record), row.block_hash)) return 'another block stands at its place';
  if (!equal(recordTable(record), row.pieces)) return 'its record and the index differ about its pieces';
  return undefined;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** The error for a block that is not as it was stored: names the block, its segment and its place. */
export function blockCorrupt(segments: Segments, row: VaultBlockRow, fault: string): Error {
  const segment = segments.get(row.segment_number);
  const name = segment?.id ?? `number ${row.segment_number}`;
  return corrupt(
    `block ${hashKey(row.block_hash)} in segment ${name} at byte ${row.offset_bytes}: ${fault}`,
    segment === undefined ? name : segments.path(segment),
  );
}
