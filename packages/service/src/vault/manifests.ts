import { StoreError } from '@gantry/disk';
import { newId } from '../db/ids.ts';
import type { ManifestRow } from '../db/schema.ts';
import type { Queries } from '../db/transactions.ts';
import { corrupt } from './errors.ts';
import { CHUNK_BLOCKS, ManifestChunk } from './manifest-chunk.ts';

/** Chunks read by one query: 640 KiB at most. */
const CHUNKS_A_PAGE = 16;

export async function createManifest(queries: Queries, virtualSizeBytes: number): Promise<ManifestRow> {
  const row: ManifestRow = {
    id: newId('man'),
    state: 'building',
    virtual_size_bytes: virtualSizeBytes,
    disk_digest: null,
    data_bytes: 0,
    created_at_ms: Date.now(),
  };
  await queries.insertInto('manifests').values(row).execute();
  return row;
}

export function findManifest(queries: Queries, id: string): Promise<ManifestRow | undefined> {
  return queries.selectFrom('manifests').selectAll().where('id', '=', id).executeTakeFirst();
}

/** Removes a manifest with its chunks. Throws while an image or an object refers to it. */
export async function deleteManifest(queries: Queries, id: string): Promise<void> {
  await queries.deleteFrom('manifests').where('id', '=', id).execute();
}

/** The chunks that have data, from `fromChunk` to before `toChunk`, in order, a few at a time. */
export async function* manifestChunks(
  queries: Queries,
  manifestId: string,
  fromChunk = 0,
  toChunk: number = Number.MAX_SAFE_INTEGER,
): AsyncGenerator<ManifestChunk, void, undefined> {
  for (let from = fromChunk; from < toChunk; ) {
    const rows = await queries
      .selectFrom('manifest_chunks')
      .select(['chunk_index', 'entries'])
      .where('manifest_id', '=', manifestId)
      .where('chunk_index', '>=', from)
      .where('chunk_index', '<', toChunk)
      .orderBy('chunk_index')
      .limit(CHUNKS_A_PAGE)
      .execute();
    for (const row of rows) yield unpackChunk(manifestId, row.chunk_index, row.entries);
    const last = rows.at(-1);
    if (last === undefined || rows.length < CHUNKS_A_PAGE) return;
    from = last.chunk_index + 1;
  }
}

/**
 * The same for a reader: a chunk without a row is zeros only as long as its manifest is there. Throws
 * STORE_NOT_FOUND when the manifest was removed.
 */
export async function* readableChunks(
  queries: Queries,
  manifestId: string,
  fromChunk?: number,
  toChunk?: number,
): AsyncGenerator<ManifestChunk, void, undefined> {
  yield* manifestChunks(queries, manifestId, fromChunk, toChunk);
  await requireManifest(queries, manifestId);
}

/** Throws STORE_NOT_FOUND. */
export async function requireManifest(queries: Queries, id: string): Promise<ManifestRow> {
  const manifest = await findManifest(queries, id);
  if (manifest !== undefined) return manifest;
  throw new StoreError('STORE_NOT_FOUND', `the vault has no manifest ${id}`, { where: `manifest ${id}` });
}

/** One chunk, or undefined when it has no data. */
export async function findChunk(
  queries: Queries,
  manifestId: string,
  index: number,
): Promise<ManifestChunk | undefined> {
  for await (const chunk of manifestChunks(queries, manifestId, index, index + 1)) return chunk;
  return undefined;
}

/** Writes chunks over those of the same index; one without data has no row. */
export async function saveChunks(
  queries: Queries,
  manifestId: string,
  chunks: Iterable<ManifestChunk>,
): Promise<void> {
  for (const chunk of chunks) {
    if (chunk.count === 0) {
      await queries
        .deleteFrom('manifest_chunks')
        .where('manifest_id', '=', manifestId)
        .where('chunk_index', '=', chunk.index)
        .execute();
      continue;
    }
    const entries = chunk.pack();
    await queries
      .insertInto('manifest_chunks')
      .values({ manifest_id: manifestId, chunk_index: chunk.index, entries })
      .onConflict((conflict) => conflict.columns(['manifest_id', 'chunk_index']).doUpdateSet({ entries }))
      .execute();
  }
}

/** Forgets every block from `block` on, and returns the chunk that `block` stands in. */
export async function cutManifest(
  queries: Queries,
  manifestId: string,
  block: number,
): Promise<ManifestChunk> {
  const index = Math.floor(block / CHUNK_BLOCKS);
  const chunk = (await findChunk(queries, manifestId, index)) ?? new ManifestChunk(index);
  chunk.clearFrom(block % CHUNK_BLOCKS);
  await saveChunks(queries, manifestId, [chunk]);
  await queries
    .deleteFrom('manifest_chunks')
    .where('manifest_id', '=', manifestId)
    .where('chunk_index', '>', index)
    .execute();
  return chunk;
}

function unpackChunk(manifestId: string, index: number, entries: Uint8Array): ManifestChunk {
  const chunk = ManifestChunk.unpack(index, entries);
  if (chunk !== undefined) return chunk;
  throw corrupt(`chunk ${index} of manifest ${manifestId} is not a list of blocks`, `manifest ${manifestId}`);
}
