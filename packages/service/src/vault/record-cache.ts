import type { VaultBlockRow } from '../db/schema.ts';
import { hashKey } from './block-index.ts';
import {
  freeOutput,
  headerFault,
  pieceFault,
  plainPiece,
  RECORD_LIMIT_BYTES,
  recordHash,
  recordTable,
  storedPiece,
} from './block-record.ts';
import { corrupt } from './errors.ts';
import { PinnedCache } from './pinned-cache.ts';
import type { Segments } from './segments.ts';

/** 8 MiB of records, 4 MiB of pieces. */
const RECORDS_KEPT = 32;
const PIECES_KEPT = 64;

/**
 * Records and pieces that were read last, checked: small reads one after the other cost one read of a
 * segment and one decompression for each piece. Keyed by content, so nothing in it ever gets stale.
 */
export class RecordCache {
  readonly #segments: Segments;
  readonly #buffers: Uint8Array[] = [];
  readonly #records: PinnedCache<Uint8Array> = new PinnedCache(RECORDS_KEPT, (record) =>
    this.#buffers.push(new Uint8Array(record.buffer)),
  );
  readonly #pieces: PinnedCache<Uint8Array> = new PinnedCache(PIECES_KEPT, freeOutput);

  constructor(segments: Segments) {
    this.#segments = segments;
  }

  /** Fills `into` with stored bytes of a piece, which as a whole passes its CRC-32, from byte `from` of them. */
  copyStored(row: VaultBlockRow, piece: number, from: number, into: Uint8Array): Promise<void> {
    return this.#useStored(row, piece, (stored) => into.set(stored.subarray(from, from + into.length)));
  }

  /** Fills `into` with guest bytes of a piece, from byte `from` of it. */
  copyPlain(row: VaultBlockRow, piece: number, from: number, into: Uint8Array): Promise<void> {
    const make = () =>
      this.#useStored(row, piece, (stored) => {
        const plain = plainPiece(stored);
        if (plain === undefined)
          throw blockCorrupt(this.#segments, row, `piece ${piece} does not decompress`);
        // A piece that is stored as it is stands in the record's buffer, which goes round.
        return plain.buffer === stored.buffer ? plain.slice() : plain;
      });
    return this.#pieces.use(`${hashKey(row.block_hash)}.${piece}`, make, (plain) =>
      into.set(plain.subarray(from, from + into.length)),
    );
  }

  #useStored<Result>(
    row: VaultBlockRow,
    piece: number,
    use: (stored: Uint8Array) => Result,
  ): Promise<Result> {
    return this.#records.use(
      hashKey(row.block_hash),
      () => this.#read(row),
      (record) => {
        const fault = pieceFault(record, piece);
        if (fault !== undefined) throw blockCorrupt(this.#segments, row, fault);
        return use(storedPiece(record, piece));
      },
    );
  }

  async #read(row: VaultBlockRow): Promise<Uint8Array> {
    const buffer = this.#buffers.pop() ?? new Uint8Array(RECORD_LIMIT_BYTES);
    const record = buffer.subarray(0, row.length_bytes);
    try {
      await this.#segments.read(row.segment_number, row.offset_bytes, [record]);
      requireRecordOf(this.#segments, row, record);
      return record;
    } catch (error) {
      this.#buffers.push(buffer);
      throw error;
    }
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
