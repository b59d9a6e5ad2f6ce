import { StoreError } from '@gantry/disk';
import type { VaultBlockRow } from '../db/schema.ts';
import type { Queries } from '../db/transactions.ts';
import { addBlocks, countSegment, findBlocks, hashKey } from './block-index.ts';
import { LENGTH_CODES_BYTES, recordTable } from './block-record.ts';
import { writeError } from './errors.ts';
import { CHUNK_BLOCKS, ManifestChunk } from './manifest-chunk.ts';
import { saveChunks } from './manifests.ts';
import type { SegmentAppender } from './segment-appender.ts';
import type { Segment } from './segments.ts';
import type { VaultState } from './vault-state.ts';

/** A block that this import brings: known once it is appended, in the index once it is committed. */
export interface FreshBlock {
  readonly hash: Uint8Array;
  /** The length codes, once it is appended. */
  codes: Uint8Array | undefined;
  /** Blocks of the disk that wait for it. */
  readonly places: number[];
}

export interface PackedBlock {
  readonly fresh: FreshBlock;
  readonly record: Uint8Array;
}

interface OpenChunk {
  readonly chunk: ManifestChunk;
  /** Blocks of it that are on their way. */
  pending: number;
  dirty: boolean;
}

/**
 * What an import has brought and not yet made durable: records appended, rows to add, chunks to save. All of
 * one commit becomes visible in one transaction, after the records are on the disk.
 */
export class WriterWindow {
  readonly #state: VaultState;
  readonly #manifestId: string;
  readonly #chunks: Map<number, OpenChunk> = new Map();
  #fresh: Map<string, FreshBlock> = new Map();
  #freshInCommit: Map<string, FreshBlock> = new Map();
  #rows: VaultBlockRow[] = [];
  /** Hashes of what was placed since the last commit began, and until it is done those before it. */
  readonly #unsaved: Uint8Array[] = [];
  #appender: SegmentAppender | undefined;
  /** Segments that were filled since the last commit. */
  #filled: SegmentAppender[] = [];
  /** Nobody knows whether the last transaction was carried out. */
  #inDoubt = false;

  /** `chunk` is what the manifest holds already of the chunk that the next block stands in. */
  constructor(state: VaultState, manifestId: string, chunk: ManifestChunk | undefined) {
    this.#state = state;
    this.#manifestId = manifestId;
    if (chunk !== undefined) this.#chunks.set(chunk.index, { chunk, pending: 0, dirty: false });
  }

  /** A rough count of what the next commit has to write, in blocks. */
  get size(): number {
    let dirtyCount = 0;
    for (const open of this.#chunks.values()) if (open.dirty) dirtyCount++;
    return this.#rows.length + this.#unsaved.length / 4 + dirtyCount * 32;
  }

  /** Hashes that this import relies on and that no saved manifest lists. */
  unsavedHashes(): Iterable<Uint8Array> {
    return this.#unsaved;
  }

  /** A block is on its way: its chunk stays in memory until `settle`. */
  expect(block: number): void {
    const index = Math.floor(block / CHUNK_BLOCKS);
    const open = this.#chunks.get(index);
    if (open === undefined) {
      this.#chunks.set(index, { chunk: new ManifestChunk(index), pending: 1, dirty: false });
    } else {
      open.pending++;
    }
  }

  settle(block: number): void {
    this.#openChunk(block).pending--;
  }

  findFresh(key: string): FreshBlock | undefined {
    return this.#fresh.get(key) ?? this.#freshInCommit.get(key);
  }

  addFresh(key: string, hash: Uint8Array): FreshBlock {
    const fresh: FreshBlock = { hash, codes: undefined, places: [] };
    this.#fresh.set(key, fresh);
    return fresh;
  }

  /** Lists a block of the disk as soon as its content is appended. */
  placeFresh(block: number, fresh: FreshBlock): void {
    if (fresh.codes === undefined) fresh.places.push(block);
    else this.place(block, fresh.hash, fresh.codes);
  }

  place(block: number, hash: Uint8Array, codes: Uint8Array): void {
    const open = this.#openChunk(block);
    open.chunk.set(block % CHUNK_BLOCKS, hash, codes);
    open.dirty = true;
    this.#unsaved.push(hash);
    this.#state.live?.add(hash);
  }

  /** Appends records, one call at a time. */
  async append(blocks: readonly PackedBlock[]): Promise<void> {
    if (this.#appender?.isFull) {
      this.#filled.push(this.#appender);
      this.#appender = undefined;
    }
    this.#appender ??= await this.#state.segments.takeForAppend();
    const appender = this.#appender;
    let offset = appender.endBytes;
    await appender.append(blocks.map((block) => block.record));
    for (const { fresh, record } of blocks) {
      const pieces = recordTable(record).slice();
      this.#rows.push({
        block_hash: fresh.hash,
        segment_number: appender.segment.number,
        offset_bytes: offset,
        length_bytes: record.length,
        pieces,
      });
      offset += record.length;
      fresh.codes = pieces.subarray(0, LENGTH_CODES_BYTES);
      for (const block of fresh.places.splice(0)) this.place(block, fresh.hash, fresh.codes);
    }
  }

  /** Makes everything that was placed so far durable, one call at a time. After a failure only `release`. */
  async commit(): Promise<void> {
    const rows = this.#rows;
    const chunks: ManifestChunk[] = [];
    for (const open of this.#chunks.values()) {
      if (open.dirty) chunks.push(open.chunk.clone());
      open.dirty = false;
    }
    // A copy: another segment may fill up meanwhile, whose records this commit does not cover.
    const filled = [...this.#filled];
    const appenders = this.#appenders();
    const ends = new Map(appenders.map((appender) => [appender.segment, appender.endBytes]));
    this.#rows = [];
    this.#freshInCommit = this.#fresh;
    this.#fresh = new Map();
    const savedCount = this.#unsaved.length;

    for (const appender of appenders) await appender.sync();
    const lived = await this.#save(rows, chunks, ends);
    for (const [segment, endBytes] of ends) {
      segment.committedBytes = endBytes;
      segment.liveBytes += lived.get(segment.number) ?? 0;
    }
    this.#freshInCommit = new Map();
    this.#unsaved.splice(0, savedCount);
    this.#forgetSettledChunks();
    this.#filled = this.#filled.filter((appender) => !filled.includes(appender));
    for (const appender of filled) await appender.release();
  }

  /** Gives the segments back, without what was not committed. */
  async release(): Promise<void> {
    const appenders = this.#appenders();
    this.#appender = undefined;
    this.#filled = [];
    for (const appender of appenders) {
      if (this.#inDoubt) await appender.abandon();
      else await appender.release();
    }
  }

  #appenders(): SegmentAppender[] {
    return this.#appender === undefined ? [...this.#filled] : [...this.#filled, this.#appender];
  }

  /** Returns the bytes of the rows that were added, by the number of their segment. */
  async #save(
    rows: readonly VaultBlockRow[],
    chunks: readonly ManifestChunk[],
    ends: ReadonlyMap<Segment, number>,
  ): Promise<Map<number, number>> {
    const save = async (transaction: Queries) => {
      const added = await addBlocks(transaction, rows);
      const own = added === rows.length ? rows : await this.#adoptForeign(transaction, rows, chunks);
      const lived = new Map<number, number>();
      for (const row of own) {
        lived.set(row.segment_number, (lived.get(row.segment_number) ?? 0) + row.length_bytes);
      }
      for (const [{ number }, committedBytes] of ends) {
        await countSegment(transaction, number, { committedBytes, liveBytes: lived.get(number) ?? 0 });
      }
      await saveChunks(transaction, this.#manifestId, chunks);
      return lived;
    };
    const { database, lock, segments } = this.#state;
    try {
      return await lock.shared(() => database.kysely.transaction().execute(save));
    } catch (cause) {
      const error = writeError(cause, segments.folder);
      // A full disk undid the transaction. After anything else it may still have been carried out.
      this.#inDoubt = !(error instanceof StoreError && error.code === 'STORE_FULL');
      throw error;
    }
  }

  /**
   * Another import committed some of the same blocks first: theirs are listed, with the lengths of their
   * pieces, and our copies are dead bytes. Returns the rows that are ours.
   */
  async #adoptForeign(
    transaction: Queries,
    rows: readonly VaultBlockRow[],
    chunks: readonly ManifestChunk[],
  ): Promise<VaultBlockRow[]> {
    const hashes = rows.map((row) => row.block_hash);
    const listed = await findBlocks(transaction, hashes);
    for (const chunk of [...chunks, ...this.#chunks.values().map((open) => open.chunk)]) {
      for (const block of chunk.blocks()) {
        const found = listed.get(hashKey(chunk.hash(block)));
        if (found !== undefined) chunk.set(block, found.block_hash, found.pieces);
      }
    }
    for (const [key, { pieces }] of listed) {
      const fresh = this.findFresh(key);
      if (fresh !== undefined) fresh.codes = pieces.subarray(0, LENGTH_CODES_BYTES);
    }
    return rows.filter((row) => {
      const found = listed.get(hashKey(row.block_hash));
      return found?.segment_number === row.segment_number && found.offset_bytes === row.offset_bytes;
    });
  }

  #openChunk(block: number): OpenChunk {
    const open = this.#chunks.get(Math.floor(block / CHUNK_BLOCKS));
    if (open === undefined) throw new Error(`the chunk of block ${block} was not expected`);
    return open;
  }

  /** Keeps the last chunk, to which blocks may still come, and those with blocks on their way. */
  #forgetSettledChunks(): void {
    const last = Math.max(...this.#chunks.keys());
    for (const [index, open] of this.#chunks) {
      if (index !== last && open.pending === 0 && !open.dirty) this.#chunks.delete(index);
    }
  }
}
