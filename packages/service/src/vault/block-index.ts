import type { VaultBlockRow } from '../db/schema.ts';
import type { Queries } from '../db/transactions.ts';
import { LENGTH_CODES_BYTES, recordLength } from './block-record.ts';

/** Rows that one statement takes or gives: well below the parameters that both engines allow. */
const ROWS_A_STATEMENT = 500;

/** How a block's hash is spelled as a key of maps. */
export function hashKey(hash: Uint8Array): string {
  return hash.toHex();
}

/** The rows of those hashes that the vault knows, by `hashKey`. */
export async function findBlocks(
  queries: Queries,
  hashes: readonly Uint8Array[],
): Promise<Map<string, VaultBlockRow>> {
  const found = new Map<string, VaultBlockRow>();
  for (const some of portions(hashes)) {
    const rows = await queries
      .selectFrom('vault_blocks')
      .selectAll()
      .where('block_hash', 'in', [...some])
      .execute();
    for (const row of rows) found.set(hashKey(row.block_hash), row);
  }
  return found;
}

/** Why a row is not that of a block which a manifest lists with these length codes, or undefined. */
export function listingFault(row: VaultBlockRow | undefined, codes: Uint8Array): string | undefined {
  if (row === undefined) return 'is not in the index';
  if (Buffer.compare(row.pieces.subarray(0, LENGTH_CODES_BYTES), codes) !== 0) {
    return 'has other pieces in the index than listed';
  }
  if (row.length_bytes !== recordLength(row.pieces)) return 'has another length than its pieces together';
  return undefined;
}

/** Adds rows, except for hashes that are known already. Returns how many were added. */
export async function addBlocks(queries: Queries, rows: readonly VaultBlockRow[]): Promise<number> {
  let added = 0;
  // In one order everywhere: two imports that add the same blocks wait for each other, and never both ways.
  for (const some of portions(rows.toSorted((a, b) => Buffer.compare(a.block_hash, b.block_hash)))) {
    const result = await queries
      .insertInto('vault_blocks')
      .values([...some])
      .onConflict((conflict) => conflict.column('block_hash').doNothing())
      .executeTakeFirst();
    added += Number(result.numInsertedOrUpdatedRows ?? 0n);
  }
  return added;
}

/** Writes where known blocks are now. */
export async function moveBlocks(queries: Queries, rows: readonly VaultBlockRow[]): Promise<void> {
  for (const some of portions(rows)) {
    await queries
      .insertInto('vault_blocks')
      .values([...some])
      .onConflict((conflict) =>
        conflict.column('block_hash').doUpdateSet((to) => ({
          segment_number: to.ref('excluded.segment_number'),
          offset_bytes: to.ref('excluded.offset_bytes'),
        })),
      )
      .execute();
  }
}

export async function deleteBlocks(queries: Queries, hashes: readonly Uint8Array[]): Promise<void> {
  for (const some of portions(hashes)) {
    await queries
      .deleteFrom('vault_blocks')
      .where('block_hash', 'in', [...some])
      .execute();
  }
}

/** A page of rows in the order of their hashes, after `after` and before `before` where these are given. */
export function blocksByHash(
  queries: Queries,
  after: Uint8Array,
  before: Uint8Array | undefined,
  limit: number,
): Promise<Pick<VaultBlockRow, 'block_hash' | 'segment_number' | 'length_bytes'>[]> {
  let query = queries
    .selectFrom('vault_blocks')
    .select(['block_hash', 'segment_number', 'length_bytes'])
    .where('block_hash', '>', after);
  if (before !== undefined) query = query.where('block_hash', '<', before);
  return query.orderBy('block_hash').limit(limit).execute();
}

/** The rows of a segment in the order of their place, read a page at a time. */
export async function* blocksOfSegment(
  queries: Queries,
  segmentNumber: number,
): AsyncGenerator<VaultBlockRow, void, undefined> {
  for (let after = -1; ; ) {
    const rows = await queries
      .selectFrom('vault_blocks')
      .selectAll()
      .where('segment_number', '=', segmentNumber)
      .where('offset_bytes', '>', after)
      .orderBy('offset_bytes')
      .limit(ROWS_A_STATEMENT)
      .execute();
    yield* rows;
    const last = rows.at(-1);
    if (last === undefined || rows.length < ROWS_A_STATEMENT) return;
    after = last.offset_bytes;
  }
}

/** Adds to what a segment's row counts. */
export async function countSegment(
  queries: Queries,
  segmentNumber: number,
  change: { committedBytes?: number; liveBytes: number },
): Promise<void> {
  await queries
    .updateTable('vault_segments')
    .set((of) => ({
      live_bytes: of('live_bytes', '+', change.liveBytes),
      ...(change.committedBytes === undefined ? {} : { committed_bytes: change.committedBytes }),
    }))
    .where('number', '=', segmentNumber)
    .execute();
}

function* portions<Item>(items: readonly Item[]): Iterable<readonly Item[]> {
  for (let at = 0; at < items.length; at += ROWS_A_STATEMENT) yield items.slice(at, at + ROWS_A_STATEMENT);
}
