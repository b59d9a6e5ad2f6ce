import { DigestTree } from '@gantry/disk';
import type { Queries } from '../db/transactions.ts';
import { Batcher } from './batcher.ts';
import { findBlocks, hashKey } from './block-index.ts';
import { BLOCK_BYTES, recordHash } from './block-record.ts';
import type { Slot } from './codec.ts';
import { corrupt } from './errors.ts';
import { CHUNK_BLOCKS, type ManifestChunk } from './manifest-chunk.ts';
import { deleteManifest, readableChunks, requireManifest } from './manifests.ts';
import type { VaultState } from './vault-state.ts';
import { type FreshBlock, type PackedBlock, WriterWindow } from './writer-window.ts';

/** From where an interrupted import goes on. Plain JSON. */
export interface VaultCheckpoint {
  readonly manifestId: string;
  /** Every block before this one is in the vault for good. */
  readonly nextBlock: number;
}

export interface SealedManifest {
  readonly manifestId: string;
  readonly diskDigest: string;
  /** Guest bytes in blocks that are not all zero. */
  readonly dataBytes: number;
}

/** What came in through one writer, in blocks, and what it added to the vault. */
export interface WriterCounts {
  readonly zeroBlocks: number;
  /** In the vault before, or twice in this import. */
  readonly knownBlocks: number;
  readonly newBlocks: number;
  /** Bytes of the new blocks' records. */
  readonly storedBytes: number;
}

/** Items of a batch: enough that a query or a write costs little for each, few enough to keep all busy. */
const BATCH_BLOCKS = 8;
/** What a commit has to write at most, in blocks, when the caller makes no checkpoint: 256 MiB of guest. */
const WINDOW_BLOCKS = 1024;

const ZERO_BLOCK: Uint8Array = new Uint8Array(BLOCK_BYTES);

/** A block by its place in the disk and its content's SHA-256. */
export interface HashedBlock {
  readonly block: number;
  readonly hash: Uint8Array;
}

/** One import: fills one manifest with the blocks of a disk, in order. Made by `Vault`. */
export class VaultWriter {
  readonly manifestId: string;
  readonly virtualSizeBytes: number;
  readonly #state: VaultState;
  readonly #window: WriterWindow;
  readonly #lookups: Batcher<HashedBlock, FreshBlock | undefined>;
  readonly #appends: Batcher<PackedBlock, undefined>;
  readonly #inFlight: Set<Promise<void>> = new Set();
  #committing: Promise<void> = Promise.resolve();
  #commitsAtWork = 0;
  #nextBlock: number;
  #failure: { readonly error: unknown } | undefined;
  #closing: Promise<void> | undefined;
  readonly #counts: { -readonly [Name in keyof WriterCounts]: number } = {
    zeroBlocks: 0,
    knownBlocks: 0,
    newBlocks: 0,
    storedBytes: 0,
  };

  constructor(
    state: VaultState,
    manifest: { readonly id: string; readonly virtual_size_bytes: number },
    from: { readonly nextBlock: number; readonly chunk?: ManifestChunk },
  ) {
    this.manifestId = manifest.id;
    this.virtualSizeBytes = manifest.virtual_size_bytes;
    this.#state = state;
    this.#nextBlock = from.nextBlock;
    this.#window = new WriterWindow(state, manifest.id, from.chunk);
    this.#lookups = new Batcher(BATCH_BLOCKS, (blocks) => this.#lookUp(blocks));
    this.#appends = new Batcher(BATCH_BLOCKS, (blocks) => this.#append(blocks));
    state.writers.add(this);
  }

  /** The least index that `put` takes. */
  get nextBlock(): number {
    return this.#nextBlock;
  }

  get counts(): WriterCounts {
    return { ...this.#counts };
  }

  /**
   * Takes block `block` of the disk: exactly 262144 guest bytes, zero beyond the virtual size. Indices rise
   * from call to call; blocks that are left out are zeros. When it returns, the bytes are the caller's again
   * and the block is on its way: a failure is thrown by a later call. One call at a time.
   * Throws STORE_FULL when there is no space; then only `abandon` and `close` are left.
   */
  async put(block: number, bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    this.#requireUsable();
    if (block < this.#nextBlock || block * BLOCK_BYTES >= this.virtualSizeBytes) {
      throw new RangeError(`block ${block} does not lie between block ${this.#nextBlock} and the disk's end`);
    }
    if (bytes.length !== BLOCK_BYTES) throw new RangeError(`a block has ${BLOCK_BYTES} bytes`);
    if (Buffer.compare(bytes, ZERO_BLOCK) === 0) {
      this.#nextBlock = block + 1;
      this.#counts.zeroBlocks++;
      return;
    }
    const slots = await this.#state.codec.acquire(1);
    const slot = slots[0] as Slot;
    if (this.#failure !== undefined) {
      this.#state.codec.release(slots);
      throw this.#failure.error;
    }
    slot.plain.set(bytes);
    this.#nextBlock = block + 1;
    const stored = this.#store(block, slot);
    this.#inFlight.add(stored);
    void stored.then(() => this.#inFlight.delete(stored));
    if (this.#window.size > WINDOW_BLOCKS) await this.#commitInBackground();
  }

  /**
   * Lists those of these blocks whose content the vault has, without their bytes; gives the others, which are to be
   * put. None lies before `nextBlock`, which stays: `put` and `skipTo` raise it.
   */
  async putKnown(blocks: readonly HashedBlock[], signal?: AbortSignal): Promise<readonly HashedBlock[]> {
    signal?.throwIfAborted();
    this.#requireUsable();
    const isInside = ({ block }: HashedBlock) =>
      block >= this.#nextBlock && block * BLOCK_BYTES < this.virtualSizeBytes;
    if (!blocks.every(isInside))
      throw new RangeError(`blocks lie between block ${this.#nextBlock} and the end`);
    const { lock, database } = this.#state;
    for (const { block } of blocks) this.#window.expect(block);
    try {
      return await lock.shared(async () => {
        const hashes = blocks.map(({ hash }) => hash);
        const known = await findBlocks(database.kysely, hashes);
        return blocks.filter(({ block, hash }) => {
          const row = known.get(hashKey(hash));
          if (row === undefined) return true;
          this.#window.place(block, row.block_hash, row.pieces);
          this.#counts.knownBlocks++;
          return false;
        });
      });
    } finally {
      for (const { block } of blocks) this.#window.settle(block);
    }
  }

  /** Says that every block before this one was put, or is all zero. */
  skipTo(block: number): void {
    this.#nextBlock = Math.max(this.#nextBlock, block);
  }

  /**
   * Makes every block that was put before this call durable. `put` may go on meanwhile. After a kill,
   * `Vault.resumeManifest` goes on from what this returned.
   */
  async checkpoint(): Promise<VaultCheckpoint> {
    this.#requireUsable();
    const nextBlock = this.#nextBlock;
    await Promise.all(this.#inFlight);
    await this.#commit();
    this.#requireUsable();
    return { manifestId: this.manifestId, nextBlock };
  }

  /**
   * Makes all durable, checks that the listed blocks have this digest, and marks the manifest as complete;
   * then the writer is closed. `alongside` runs in the same transaction: it makes what refers to the
   * manifest. Throws STORE_CORRUPT when the digest is another.
   */
  async seal(
    diskDigest: string,
    alongside?: (transaction: Queries, sealed: SealedManifest) => Promise<void>,
  ): Promise<SealedManifest> {
    await this.checkpoint();
    const { kysely } = this.#state.database;
    const listed = await listedContent(kysely, this.manifestId);
    if (listed.diskDigest !== diskDigest) {
      throw corrupt(
        `manifest ${this.manifestId} lists a disk of digest ${listed.diskDigest}, not ${diskDigest}`,
        `manifest ${this.manifestId}`,
      );
    }
    const dataBytes = Math.min(listed.blockCount * BLOCK_BYTES, this.virtualSizeBytes);
    const sealed: SealedManifest = { manifestId: this.manifestId, diskDigest, dataBytes };
    await kysely.transaction().execute(async (transaction) => {
      const { numUpdatedRows } = await transaction
        .updateTable('manifests')
        .set({ state: 'sealed', disk_digest: diskDigest, data_bytes: dataBytes })
        .where('id', '=', this.manifestId)
        .executeTakeFirst();
      if (numUpdatedRows === 0n) await requireManifest(transaction, this.manifestId);
      await alongside?.(transaction, sealed);
    });
    await this.close();
    return sealed;
  }

  /** Closes the writer and removes its manifest. */
  async abandon(): Promise<void> {
    await this.close();
    await deleteManifest(this.#state.database.kysely, this.manifestId);
  }

  /** Stops; the manifest stays as of the last checkpoint, or a little further. Safe to call more than once. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Hashes that this import relies on and that no saved manifest lists. */
  unsavedHashes(): Iterable<Uint8Array> {
    return this.#window.unsavedHashes();
  }

  async #close(): Promise<void> {
    this.#failure ??= { error: new Error('the writer is closed') };
    await Promise.all(this.#inFlight);
    await this.#committing.catch(() => {});
    try {
      await this.#window.release();
    } finally {
      this.#state.writers.delete(this);
    }
  }

  #requireUsable(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** From the bytes in the slot to the manifest's entry. Never rejects: a failure is kept for the caller. */
  async #store(block: number, slot: Slot): Promise<void> {
    this.#window.expect(block);
    try {
      const fresh = await this.#lookups.add(this.#hash(block, slot));
      if (fresh === undefined) this.#counts.knownBlocks++;
      else await this.#appends.add(this.#pack(fresh, slot));
    } catch (error) {
      this.#failure ??= { error };
    } finally {
      this.#window.settle(block);
      this.#state.codec.release([slot]);
    }
  }

  async #hash(block: number, slot: Slot): Promise<HashedBlock> {
    await this.#state.codec.hash(slot);
    return { block, hash: recordHash(slot.record).slice() };
  }

  async #pack(fresh: FreshBlock, slot: Slot): Promise<PackedBlock> {
    const length = await this.#state.codec.pack(slot);
    this.#counts.newBlocks++;
    this.#counts.storedBytes += length;
    return { fresh, record: slot.record.subarray(0, length) };
  }

  /** Lists blocks whose content is known; for each that is not, gives what is to be stored. */
  #lookUp(blocks: readonly HashedBlock[]): Promise<(FreshBlock | undefined)[]> {
    this.#requireUsable();
    const { lock, database } = this.#state;
    return lock.shared(async () => {
      const keys = blocks.map(({ hash }) => hashKey(hash));
      const fresh = keys.map((key) => this.#window.findFresh(key));
      const asked = blocks.filter((_, i) => fresh[i] === undefined).map(({ hash }) => hash);
      const known = await findBlocks(database.kysely, asked);
      return blocks.map(({ block, hash }, i) => {
        const key = keys[i] ?? '';
        const row = known.get(key);
        if (row !== undefined) {
          this.#window.place(block, hash, row.pieces);
          return undefined;
        }
        // The same content twice in one batch: the second finds what the first added.
        const twin = fresh[i] ?? this.#window.findFresh(key);
        const place = twin ?? this.#window.addFresh(key, hash);
        this.#window.placeFresh(block, place);
        return twin === undefined ? place : undefined;
      });
    });
  }

  async #append(blocks: readonly PackedBlock[]): Promise<undefined[]> {
    this.#requireUsable();
    await this.#window.append(blocks);
    return [];
  }

  #commit(): Promise<void> {
    this.#commitsAtWork++;
    const commit = this.#committing.then(async () => {
      this.#requireUsable();
      await this.#window.commit();
    });
    this.#committing = commit
      .catch((error) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#commitsAtWork--;
      });
    return this.#committing;
  }

  /** Keeps what is not durable bounded: a second window waits for the first. */
  async #commitInBackground(): Promise<void> {
    if (this.#commitsAtWork === 0) void this.#commit();
    else if (this.#window.size > 2 * WINDOW_BLOCKS) await this.#committing;
  }
}

/** The digest of the blocks that a manifest lists, and how many there are. */
export async function listedContent(
  queries: Queries,
  manifestId: string,
): Promise<{ diskDigest: string; blockCount: number }> {
  const tree = new DigestTree();
  let blockCount = 0;
  for await (const chunk of readableChunks(queries, manifestId)) {
    for (const block of chunk.blocks()) {
      tree.add(chunk.index * CHUNK_BLOCKS + block, chunk.hash(block));
      blockCount++;
    }
  }
  return { diskDigest: tree.finish(), blockCount };
}
