import { type Page, toPage } from '../page.ts';
import type { ImageRow } from '../schema.ts';
import type { Queries } from '../transactions.ts';

export async function insertImage(queries: Queries, row: ImageRow): Promise<void> {
  await queries.insertInto('images').values(row).execute();
}

export function findImage(queries: Queries, tenancyId: string, id: string): Promise<ImageRow | undefined> {
  return queries
    .selectFrom('images')
    .selectAll()
    .where('tenancy_id', '=', tenancyId)
    .where('id', '=', id)
    .executeTakeFirst();
}

export interface ImageListing {
  readonly tenancyId: string;
  /** Only images of exactly this name. */
  readonly name?: string | undefined;
  /** A cursor: the id of the image before. */
  readonly startAfter?: string | undefined;
  readonly limit: number;
}

/** A tenancy's images that are there, newest first; the cursor is an id. */
export async function listImages(queries: Queries, listing: ImageListing): Promise<Page<ImageRow>> {
  const { tenancyId, name, startAfter, limit } = listing;
  let query = queries
    .selectFrom('images')
    .selectAll()
    .where('tenancy_id', '=', tenancyId)
    .where('manifest_id', 'is not', null);
  if (name !== undefined) query = query.where('name', '=', name);
  if (startAfter !== undefined) query = query.where('id', '<', startAfter);
  const rows = await query
    .orderBy('id', 'desc')
    .limit(limit + 1)
    .execute();
  return toPage(rows, limit, (row) => row.id);
}

/**
 * Marks an image as deleted and lets go of its content; returns what it is now, undefined when it was deleted before.
 * Its manifest stays, for the objects that show it and for the vault.
 */
export function markImageDeleted(
  queries: Queries,
  tenancyId: string,
  id: string,
  nowMs: number,
): Promise<ImageRow | undefined> {
  return queries
    .updateTable('images')
    .set((row) => ({ deleted_at_ms: nowMs, manifest_id: null, version: row('version', '+', 1) }))
    .where('tenancy_id', '=', tenancyId)
    .where('id', '=', id)
    .where('deleted_at_ms', 'is', null)
    .returningAll()
    .executeTakeFirst();
}
