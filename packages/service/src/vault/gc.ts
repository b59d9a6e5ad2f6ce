import { isForeignKeyViolation } from '../db/constraint-errors.ts';
import type { VaultBlockRow } from '../db/schema.ts';
import { blocksByHash, countSegment, deleteBlocks } from './block-index.ts';
import { compactSegments } from './compact.ts';
import { LiveSet } from './live-set.ts';
import { manifestChunks } from './manifests.ts';
import type { VaultState } from './vault-state.ts';

export interface CollectProgress {
  /** `mark`: shards of the index; `sweep`: the same; `compact`: segments. */
  readonly phase: 'manifests' | 'mark' | 'sweep' | 'compact';
  readonly done: number;
  readonly total: number;
}

export interface CollectOptions {
  /**
   * Manifests that jobs hold: those being built, and those sealed that nothing refers to yet. Asked once, after
   * the collection has chosen what it might remove. Manifests of open writers and disks are kept anyway.
   */
  readonly manifestsInUse: () => Promise<Iterable<string>>;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: CollectProgress) => void) | undefined;
}

export interface CollectReport {
  readonly manifestCount: number;
  readonly blockCount: number;
  /** Segments deleted, those included whose live blocks were moved. */
  readonly segmentCount: number;
  /** Blocks that could not be moved because they are damaged: `check --data` names them. */
  readonly damagedCount: number;
  /** By how much the segments became smaller. */
  readonly freedBytes: number;
}

/** Hashes that one pass holds in memory: 16 to 32 MiB. */
const SHARD_BLOCKS: number = 2 ** 20;
/** A block's record as it is usually, to guess the number of blocks. */
const TYPICAL_RECORD_BYTES: number = 96 * 1024;
const SWEEP_ROWS = 500;
const MANIFESTS_A_PAGE = 200;

/** Mark and sweep; see VaultState for what keeps it and the imports apart. */
export async function collectGarbage(state: VaultState, options: CollectOptions): Promise<CollectReport> {
  const manifestCount = await removeManifests(state, options);
  const liveBytes = state.segments.list().reduce((sum, segment) => sum + segment.liveBytes, 0);
  const shardsNeeded = liveBytes / TYPICAL_RECORD_BYTES / SHARD_BLOCKS;
  const shardCount = Math.min(256, 2 ** Math.max(0, Math.ceil(Math.log2(shardsNeeded))));
  let blockCount = 0;
  for (let shard = 0; shard < shardCount; shard++) {
    const live = new LiveSet(shard, shardCount, Math.ceil(liveBytes / TYPICAL_RECORD_BYTES / shardCount));
    await state.lock.exclusive(async () => {
      state.live = live;
      for (const writer of state.writers) for (const hash of writer.unsavedHashes()) live.add(hash);
    });
    try {
      options.onProgress?.({ phase: 'mark', done: shard, total: shardCount });
      await mark(state, live, options.signal);
      options.onProgress?.({ phase: 'sweep', done: shard, total: shardCount });
      blockCount += await sweep(state, live, options.signal);
    } finally {
      state.live = undefined;
    }
  }
  return { manifestCount, blockCount, ...(await compactSegments(state, options)) };
}

async function removeManifests(state: VaultState, options: CollectOptions): Promise<number> {
  const unreferenced = await state.database.kysely
    .selectFrom('manifests')
    .select('id')
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(selectFrom('images').select('images.id').whereRef('images.manifest_id', '=', 'manifests.id')),
      ),
    )
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('objects')
            .select('objects.object_key')
            .whereRef('objects.manifest_id', '=', 'manifests.id'),
        ),
      ),
    )
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('volumes').select('volumes.id').whereRef('volumes.manifest_id', '=', 'manifests.id'),
        ),
      ),
    )
    .execute();
  const inUse = new Set(await options.manifestsInUse());
  let removed = 0;
  for (const [i, { id }] of unreferenced.entries()) {
    options.signal?.throwIfAborted();
    options.onProgress?.({ phase: 'manifests', done: i, total: unreferenced.length });
    if (!inUse.has(id) && (await state.lock.exclusive(() => removeManifest(state, id)))) removed++;
  }
  return removed;
}

/** False when the manifest came to be used after all. */
async function removeManifest(state: VaultState, id: string): Promise<boolean> {
  if (state.readers.has(id) || [...state.writers].some((writer) => writer.manifestId === id)) return false;
  try {
    const { numDeletedRows } = await state.database.kysely
      .deleteFrom('manifests')
      .where('id', '=', id)
      .executeTakeFirst();
    return numDeletedRows > 0n;
  } catch (error) {
    if (isForeignKeyViolation(error)) return false;
    throw error;
  }
}

/** Adds every block that a manifest lists. Writers add what they come to use meanwhile. */
async function mark(state: VaultState, live: LiveSet, signal: AbortSignal | undefined): Promise<void> {
  const { kysely } = state.database;
  for (let after = ''; ; ) {
    const manifests = await kysely
      .selectFrom('manifests')
      .select('id')
      .where('id', '>', after)
      .orderBy('id')
      .limit(MANIFESTS_A_PAGE)
      .execute();
    for (const { id } of manifests) {
      for await (const chunk of manifestChunks(kysely, id)) {
        signal?.throwIfAborted();
        for (const block of chunk.blocks()) live.add(chunk.hash(block));
      }
    }
    const last = manifests.at(-1);
    if (last === undefined || manifests.length < MANIFESTS_A_PAGE) return;
    after = last.id;
  }
}

/** Deletes the rows of blocks that are not live; returns how many. */
async function sweep(state: VaultState, live: LiveSet, signal: AbortSignal | undefined): Promise<number> {
  const { kysely } = state.database;
  const { from, before } = live.bounds();
  let deleted = 0;
  for (let after = from; ; ) {
    signal?.throwIfAborted();
    const rows = await blocksByHash(kysely, after, before, SWEEP_ROWS);
    const last = rows.at(-1);
    if (last === undefined) return deleted;
    after = last.block_hash;
    const dead = rows.filter((row) => !live.has(row.block_hash));
    if (dead.length > 0) deleted += await state.lock.exclusive(() => deleteDead(state, dead, live));
  }
}

type BlockPlace = Pick<VaultBlockRow, 'block_hash' | 'segment_number' | 'length_bytes'>;

/** Under the exclusive lock: what an import came to use since the rows were read is kept. */
async function deleteDead(state: VaultState, rows: readonly BlockPlace[], live: LiveSet): Promise<number> {
  const dead = rows.filter((row) => !live.has(row.block_hash));
  const bytes = new Map<number, number>();
  for (const row of dead) {
    bytes.set(row.segment_number, (bytes.get(row.segment_number) ?? 0) + row.length_bytes);
  }
  await state.database.kysely.transaction().execute(async (transaction) => {
    await deleteBlocks(
      transaction,
      dead.map((row) => row.block_hash),
    );
    for (const [number, length] of bytes) await countSegment(transaction, number, { liveBytes: -length });
  });
  for (const [number, length] of bytes) {
    const segment = state.segments.get(number);
    if (segment !== undefined) segment.liveBytes -= length;
  }
  return dead.length;
}
