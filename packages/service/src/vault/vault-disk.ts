import {
  type ByteSource,
  type DetailValue,
  type DigestOptions,
  DigestTree,
  type Disk,
  type Extent,
  mapOrdered,
} from '@gantry/disk';
import type { ManifestRow, VaultBlockRow } from '../db/schema.ts';
import { findBlocks, hashKey, listingFault } from './block-index.ts';
import { BLOCK_BYTES, PIECE_BYTES, PIECES_PER_BLOCK, storedLength, storedLengthOf } from './block-record.ts';
import { allEnded, runsOf, unpackRun } from './block-run.ts';
import { corrupt } from './errors.ts';
import { Lru } from './lru.ts';
import { CHUNK_BLOCKS, CHUNK_PIECES, type ManifestChunk } from './manifest-chunk.ts';
import { dataPieces, manifestExtents } from './manifest-extents.ts';
import { readableChunks } from './manifests.ts';
import { SegmentGone } from './segments.ts';
import type { StoredPieces } from './stored-pieces.ts';
import type { VaultState } from './vault-state.ts';
import { listedContent } from './writer.ts';

const CHUNKS_KEPT = 8;
/** Blocks whose places are looked up by one query, and how many such groups are kept. */
const GROUP_BLOCKS = 64;
const GROUPS_KEPT = 64;
/** Groups that are verified side by side, so that the codec always has something to do. */
const GROUPS_AT_ONCE = 2;
/** A block that moved again and again while it was read would be a fault of ours. */
const MOVES_LIMIT = 5;

type Rows = ReadonlyMap<string, VaultBlockRow>;

/** Blocks of one chunk that hold data. */
interface BlockGroup {
  readonly chunk: ManifestChunk;
  readonly blocks: readonly number[];
}

/** A whole block to be read into `into`. */
interface WholeBlock {
  readonly row: VaultBlockRow;
  readonly into: Uint8Array;
}

/** A manifest as the disk that it lists. Every byte that is read was checked. Made by `Vault`. */
export class VaultDisk implements Disk {
  readonly format = 'vault';
  readonly virtualSizeBytes: number;
  readonly details: Readonly<Record<string, DetailValue>>;
  readonly warnings: readonly string[] = [];
  readonly manifestId: string;
  /** Null while the manifest is building. */
  readonly diskDigest: string | null;
  readonly #state: VaultState;
  readonly #onClose: () => void;
  readonly #chunks: Lru<number, Promise<ManifestChunk | undefined>> = new Lru(CHUNKS_KEPT);
  readonly #groups: Lru<number, { readonly moves: number; readonly rows: Promise<Rows> }> = new Lru(
    GROUPS_KEPT,
  );
  #closed = false;

  constructor(state: VaultState, manifest: ManifestRow, onClose: () => void) {
    this.#state = state;
    this.#onClose = onClose;
    this.manifestId = manifest.id;
    this.diskDigest = manifest.disk_digest;
    this.virtualSizeBytes = manifest.virtual_size_bytes;
    this.details = { manifest: manifest.id, diskDigest: manifest.disk_digest };
  }

  async close(): Promise<void> {
    if (!this.#closed) this.#onClose();
    this.#closed = true;
  }

  /** Data is what is not zero, 64 KiB at a time. */
  extents(fromBytes: number, toBytes: number, signal?: AbortSignal): AsyncGenerator<Extent, void, undefined> {
    return manifestExtents(this.#state.database.kysely, this.manifestId, fromBytes, toBytes, signal);
  }

  /**
   * Verifies the CRC-32 of every stored piece that it touches, and the SHA-256 of every block that it reads
   * whole. Throws STORE_CORRUPT, naming the block and its segment.
   */
  async read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    if (offsetBytes < 0 || offsetBytes + into.length > this.virtualSizeBytes) {
      throw new RangeError('a read lies inside the disk');
    }
    await this.#whenMoved(() => this.#read(offsetBytes, into, signal));
  }

  /** The digest of the blocks that the manifest lists; reads none of their data. */
  async listedDigest(): Promise<string> {
    return (await listedContent(this.#state.database.kysely, this.manifestId)).diskDigest;
  }

  /**
   * Reads every block that the manifest lists, with every check there is, and returns the digest of what it
   * read: that which `diskDigest` gives, in less time. Throws STORE_CORRUPT, as `read` does.
   */
  async verify(options: DigestOptions = {}): Promise<string> {
    const tree = new DigestTree();
    const verified = mapOrdered(this.#listedGroups(), GROUPS_AT_ONCE, async (group) => {
      await this.#whenMoved(() => this.#verify(group, options.signal));
      return group;
    });
    const progress = { phase: 'verify', totalBytes: this.virtualSizeBytes };
    for await (const { chunk, blocks } of verified) {
      let next = 0;
      for (const block of blocks) {
        tree.add(chunk.index * CHUNK_BLOCKS + block, chunk.hash(block));
        next = chunk.index * CHUNK_BLOCKS + block + 1;
      }
      options.onProgress?.({ ...progress, doneBytes: Math.min(next * BLOCK_BYTES, this.virtualSizeBytes) });
    }
    options.onProgress?.({ ...progress, doneBytes: this.virtualSizeBytes });
    return tree.finish();
  }

  /** Loads the length of every stored piece: 8 KiB for each 256 MiB of the disk that hold data. */
  async storedPieces(signal?: AbortSignal): Promise<StoredPieces> {
    const codes = new Map<number, Uint16Array>();
    for await (const chunk of readableChunks(this.#state.database.kysely, this.manifestId)) {
      signal?.throwIfAborted();
      const chunkCodes = new Uint16Array(CHUNK_PIECES);
      for (const piece of dataPieces(chunk)) chunkCodes[piece] = chunk.pieceCode(piece);
      codes.set(chunk.index, chunkCodes);
    }
    const pieceCount = Math.ceil(this.virtualSizeBytes / PIECE_BYTES);
    const source: ByteSource = {
      name: `stored pieces of ${this.manifestId}`,
      lengthBytes: pieceCount * PIECE_BYTES,
      read: (offset, into, abort) => this.#whenMoved(() => this.#readStored(offset, into, abort)),
      async close() {},
    };
    return {
      pieceBytes: PIECE_BYTES,
      pieceCount,
      storedLength(piece) {
        return storedLengthOf(codes.get(Math.floor(piece / CHUNK_PIECES))?.[piece % CHUNK_PIECES] ?? 0);
      },
      source,
    };
  }

  async #readStored(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const piece = Math.floor(offsetBytes / PIECE_BYTES);
    const row = await this.#row(Math.floor(piece / PIECES_PER_BLOCK));
    const from = offsetBytes % PIECE_BYTES;
    if (row === undefined || from + into.length > storedLength(row.pieces, piece % PIECES_PER_BLOCK)) {
      throw new RangeError('a read lies inside one stored piece');
    }
    await this.#state.records.copyStored(row, piece % PIECES_PER_BLOCK, from, into);
  }

  async #read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const whole: WholeBlock[] = [];
    const endBytes = offsetBytes + into.length;
    for (let at = offsetBytes; at < endBytes; ) {
      signal?.throwIfAborted();
      const block = Math.floor(at / BLOCK_BYTES);
      const start = block * BLOCK_BYTES;
      const end = Math.min(start + BLOCK_BYTES, endBytes);
      const part = into.subarray(at - offsetBytes, end - offsetBytes);
      const row = await this.#row(block);
      if (row === undefined) part.fill(0);
      else if (part.length === Math.min(BLOCK_BYTES, this.virtualSizeBytes - start))
        whole.push({ row, into: part });
      else await this.#readPart(row, at - start, part);
      at = end;
    }
    const take = (block: WholeBlock, plain: Uint8Array) => {
      block.into.set(block.into.length === BLOCK_BYTES ? plain : plain.subarray(0, block.into.length));
    };
    // Nothing writes into `into` after the end, also when one of the runs fails.
    await allEnded(runsOf(whole).map((run) => unpackRun(this.#state, run, take, signal)));
  }

  /** Part of a block, from `fromBytes` of it. */
  async #readPart(row: VaultBlockRow, fromBytes: number, into: Uint8Array): Promise<void> {
    for (let done = 0; done < into.length; ) {
      const at = fromBytes + done;
      const piece = Math.floor(at / PIECE_BYTES);
      const from = at % PIECE_BYTES;
      const part = into.subarray(done, done + PIECE_BYTES - from);
      if (storedLength(row.pieces, piece) === 0) part.fill(0);
      else await this.#state.records.copyPlain(row, piece, from, part);
      done += part.length;
    }
  }

  /** Where a block is, or undefined for one of zeros. */
  async #row(block: number): Promise<VaultBlockRow | undefined> {
    const chunk = await this.#chunk(Math.floor(block / CHUNK_BLOCKS));
    const inChunk = block % CHUNK_BLOCKS;
    if (!chunk?.has(inChunk)) return undefined;
    return this.#requireRow(await this.#group(Math.floor(block / GROUP_BLOCKS), chunk), chunk, inChunk);
  }

  #requireRow(rows: Rows, chunk: ManifestChunk, block: number): VaultBlockRow {
    const key = hashKey(chunk.hash(block));
    const row = rows.get(key);
    const fault = listingFault(row, chunk.codes(block));
    if (row !== undefined && fault === undefined) return row;
    throw corrupt(`block ${key} of manifest ${this.manifestId} ${fault}`, `manifest ${this.manifestId}`);
  }

  async *#listedGroups(): AsyncGenerator<BlockGroup, void, undefined> {
    for await (const chunk of readableChunks(this.#state.database.kysely, this.manifestId)) {
      const blocks = [...chunk.blocks()];
      for (let at = 0; at < blocks.length; at += GROUP_BLOCKS) {
        yield { chunk, blocks: blocks.slice(at, at + GROUP_BLOCKS) };
      }
    }
  }

  async #verify({ chunk, blocks }: BlockGroup, signal: AbortSignal | undefined): Promise<void> {
    const hashes = blocks.map((block) => chunk.hash(block));
    const rows = await findBlocks(this.#state.database.kysely, hashes);
    const runs = runsOf(blocks.map((block) => ({ row: this.#requireRow(rows, chunk, block) })));
    await allEnded(runs.map((run) => unpackRun(this.#state, run, () => {}, signal)));
  }

  #chunk(index: number): Promise<ManifestChunk | undefined> {
    const cached = this.#chunks.get(index);
    if (cached !== undefined) return cached;
    const chunk = this.#readChunk(index);
    this.#chunks.set(index, chunk);
    chunk.catch(() => this.#chunks.delete(index));
    return chunk;
  }

  async #readChunk(index: number): Promise<ManifestChunk | undefined> {
    const chunks = readableChunks(this.#state.database.kysely, this.manifestId, index, index + 1);
    for await (const chunk of chunks) return chunk;
    return undefined;
  }

  #group(index: number, chunk: ManifestChunk): Promise<Rows> {
    const { moves, database } = this.#state;
    const cached = this.#groups.get(index);
    if (cached?.moves === moves) return cached.rows;
    const first = (index * GROUP_BLOCKS) % CHUNK_BLOCKS;
    const hashes: Uint8Array[] = [];
    for (let block = first; block < first + GROUP_BLOCKS; block++) {
      if (chunk.has(block)) hashes.push(chunk.hash(block));
    }
    const rows = findBlocks(database.kysely, hashes);
    this.#groups.set(index, { moves, rows });
    rows.catch(() => this.#groups.delete(index));
    return rows;
  }

  /** Reads again when a collection moved a block away in between. */
  async #whenMoved(read: () => Promise<void>): Promise<void> {
    if (this.#closed) throw new Error('the disk is closed');
    for (let attempt = 1; ; attempt++) {
      try {
        return await read();
      } catch (error) {
        if (!(error instanceof SegmentGone)) throw error;
        if (attempt === MOVES_LIMIT) {
          throw corrupt(
            `manifest ${this.manifestId} lists a block in a segment that is not there`,
            this.manifestId,
          );
        }
      }
    }
  }
}
