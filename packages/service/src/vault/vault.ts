import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DIGEST_BLOCK_BYTES, StoreError, storeError, syncFolder } from '@gantry/disk';
import type { Database } from '../db/database.ts';
import { BLOCK_BYTES } from './block-record.ts';
import { checkVault, type VaultCheckOptions, type VaultCheckReport } from './check.ts';
import { Codec } from './codec.ts';
import { type CollectOptions, type CollectReport, collectGarbage } from './gc.ts';
import { requireIdentity } from './identity.ts';
import { createManifest, cutManifest, deleteManifest, requireManifest } from './manifests.ts';
import { RecordCache } from './record-cache.ts';
import { Segments } from './segments.ts';
import { SharedLock } from './shared-lock.ts';
import { VaultDisk } from './vault-disk.ts';
import type { VaultState } from './vault-state.ts';
import { type VaultCheckpoint, VaultWriter } from './writer.ts';

export interface VaultOptions {
  /** The vault's own folder, made when absent. One process at a time. */
  readonly folder: string;
  /** Migrated; stays the caller's. */
  readonly database: Database;
  /** A segment takes no further record from this length on. */
  readonly segmentLimitBytes?: number;
  /** Threads that hash and compress; by default one a core, at most 4. */
  readonly threads?: number;
}

export interface VaultUsage {
  readonly segmentCount: number;
  /** Bytes of all segments. */
  readonly storedBytes: number;
  /** Of these, the bytes of blocks; the rest can be collected. */
  readonly liveBytes: number;
}

const SEGMENT_LIMIT_BYTES: number = 512 * 1024 * 1024;

/**
 * Image content as blocks of 256 KiB that are named by their SHA-256 and stored once. A manifest lists the
 * blocks of one disk. docs/explanation/vault.md tells how and why.
 */
export class Vault {
  readonly #state: VaultState;
  /** Collections and checks run one after the other. */
  #upkeep: Promise<unknown> = Promise.resolve();

  private constructor(state: VaultState) {
    this.#state = state;
  }

  /**
   * Opens or makes the vault; what a killed import left behind its last checkpoint is cut off. Throws
   * STORE_REFUSED when folder and database do not belong together.
   */
  static async open(options: VaultOptions): Promise<Vault> {
    if (BLOCK_BYTES !== DIGEST_BLOCK_BYTES) throw new Error("a block is not the disk digest's leaf");
    const { folder, database } = options;
    const segmentFolder = join(folder, 'segments');
    const made = await mkdir(segmentFolder, { recursive: true, mode: 0o700 }).catch((error) => {
      throw storeError(error, segmentFolder);
    });
    if (made !== undefined) await syncFolder(dirname(made));
    await requireIdentity(folder, segmentFolder, database.kysely);
    const limitBytes = options.segmentLimitBytes ?? SEGMENT_LIMIT_BYTES;
    const segments = await Segments.open(segmentFolder, limitBytes, database.kysely);
    return new Vault({
      database,
      segments,
      codec: new Codec(options.threads),
      records: new RecordCache(segments),
      lock: new SharedLock(),
      writers: new Set(),
      readers: new Map(),
      live: undefined,
      moves: 0,
    });
  }

  /** Closes writers as they are, then threads and files; waits for a collection or a check under way. */
  async close(): Promise<void> {
    for (const writer of [...this.#state.writers]) await writer.close();
    await this.#upkeep;
    await this.#state.codec.close();
    await this.#state.segments.close();
  }

  /** Begins an import: a manifest in state `building`. */
  async beginManifest(virtualSizeBytes: number): Promise<VaultWriter> {
    const { lock, database } = this.#state;
    return lock.shared(async () => {
      const manifest = await createManifest(database.kysely, virtualSizeBytes);
      return new VaultWriter(this.#state, manifest, { nextBlock: 0 });
    });
  }

  /**
   * Goes on with an import that was interrupted: blocks from `nextBlock` on are to be put again. Throws
   * STORE_NOT_FOUND when the manifest is gone, STORE_REFUSED when it is sealed or being written.
   */
  async resumeManifest({ manifestId, nextBlock }: VaultCheckpoint): Promise<VaultWriter> {
    const { lock, database, writers } = this.#state;
    return lock.shared(async () => {
      const manifest = await requireManifest(database.kysely, manifestId);
      const chunk = await database.kysely
        .transaction()
        .execute((transaction) =>
          manifest.state === 'building' && !isWritten(writers, manifestId)
            ? cutManifest(transaction, manifestId, nextBlock)
            : Promise.reject(notResumable(manifestId)),
        );
      if (isWritten(writers, manifestId)) throw notResumable(manifestId);
      return new VaultWriter(this.#state, manifest, { nextBlock, chunk });
    });
  }

  /** Removes the manifest of an import that will not go on. Does nothing when it is gone. */
  async removeManifest(manifestId: string): Promise<void> {
    for (const writer of this.#state.writers) if (writer.manifestId === manifestId) await writer.close();
    await deleteManifest(this.#state.database.kysely, manifestId);
  }

  /**
   * The disk that a manifest lists; its content is kept while the disk is open. One that is still building
   * can be read up to its last checkpoint; what was read is remembered, so open it again after the next one.
   * Throws STORE_NOT_FOUND.
   */
  async openManifest(manifestId: string): Promise<VaultDisk> {
    const { lock, readers, database } = this.#state;
    return lock.shared(async () => {
      const manifest = await requireManifest(database.kysely, manifestId);
      readers.set(manifestId, (readers.get(manifestId) ?? 0) + 1);
      return new VaultDisk(this.#state, manifest, () => {
        const left = (readers.get(manifestId) ?? 1) - 1;
        if (left === 0) readers.delete(manifestId);
        else readers.set(manifestId, left);
      });
    });
  }

  /**
   * Removes manifests that nothing refers to, blocks that no manifest lists, and the room that these took.
   * Imports and reads go on meanwhile.
   */
  gc(options: CollectOptions): Promise<CollectReport> {
    return this.#inTurn(() => collectGarbage(this.#state, options));
  }

  /** Compares index, manifests and segment files; with `data`, reads and verifies every block. */
  check(options: VaultCheckOptions): Promise<VaultCheckReport> {
    return this.#inTurn(() => checkVault(this.#state, options));
  }

  usage(): VaultUsage {
    const segments = this.#state.segments.list();
    return {
      segmentCount: segments.length,
      storedBytes: segments.reduce((sum, segment) => sum + segment.committedBytes, 0),
      liveBytes: segments.reduce((sum, segment) => sum + segment.liveBytes, 0),
    };
  }

  #inTurn<Result>(run: () => Promise<Result>): Promise<Result> {
    const result = this.#upkeep.then(run);
    this.#upkeep = result.catch(() => {});
    return result;
  }
}

function isWritten(writers: ReadonlySet<VaultWriter>, manifestId: string): boolean {
  return [...writers].some((writer) => writer.manifestId === manifestId);
}

function notResumable(manifestId: string): StoreError {
  return new StoreError('STORE_REFUSED', `manifest ${manifestId} is complete or being written`, {
    where: `manifest ${manifestId}`,
  });
}
