import { type RawBuilder, type SelectQueryBuilder, sql, type Updateable } from 'kysely';
import { type Page, toPage } from '../page.ts';
import type { ImageRow, Schema } from '../schema.ts';
import { forUpdate, type Queries } from '../transactions.ts';

/** What an image is doing: it follows from its job, its manifest and the exports of it that are not over. */
export type ImageState = 'provisioning' | 'importing' | 'available' | 'exporting' | 'deleted';

/** An image with its state as of the query. */
export interface ImageWithState extends ImageRow {
  readonly state: ImageState;
}

const state: RawBuilder<ImageState> = sql<ImageState>`CASE
  WHEN images.deleted_at_ms IS NOT NULL THEN 'deleted'
  WHEN images.manifest_id IS NULL THEN
    CASE WHEN making.state IN ('queued', 'running')
      THEN CASE making.kind WHEN 'image-capture' THEN 'provisioning' ELSE 'importing' END
      ELSE 'deleted' END
  WHEN EXISTS (
    SELECT 1 FROM job_resources JOIN jobs ON jobs.id = job_resources.job_id
    WHERE job_resources.resource_id = images.id AND jobs.kind = 'image-export'
      AND jobs.state IN ('queued', 'running'))
  THEN 'exporting' ELSE 'available' END`;

type WithState = SelectQueryBuilder<Schema & { making: Schema['jobs'] }, 'images' | 'making', ImageWithState>;

function withState(queries: Queries): WithState {
  return queries
    .selectFrom('images')
    .leftJoin('jobs as making', 'making.id', 'images.job_id')
    .selectAll('images')
    .select(state.as('state')) as unknown as WithState;
}

export async function insertImage(queries: Queries, row: ImageRow): Promise<void> {
  await queries.insertInto('images').values(row).execute();
}

/** The image, also one that is being made or was deleted. */
export function findImage(
  queries: Queries,
  tenancyId: string,
  id: string,
): Promise<ImageWithState | undefined> {
  return withState(queries)
    .where('images.tenancy_id', '=', tenancyId)
    .where('images.id', '=', id)
    .executeTakeFirst();
}

/** The image, which nothing changes until the transaction ends; exports of it begin by locking it, too. */
export async function lockImage(
  transaction: Queries,
  tenancyId: string,
  id: string,
): Promise<ImageWithState | undefined> {
  const row = transaction.selectFrom('images').select('id').where('id', '=', id);
  await forUpdate(transaction, row).execute();
  return findImage(transaction, tenancyId, id);
}

/** Writes these columns and raises the version. */
export async function updateImage(
  queries: Queries,
  id: string,
  changes: Updateable<ImageRow>,
): Promise<ImageRow> {
  return queries
    .updateTable('images')
    .set((row) => ({ ...changes, version: row('version', '+', 1) }))
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

export interface ImageListing {
  readonly tenancyId: string;
  /** Only of these compartments; of all when absent. */
  readonly compartmentIds?: readonly string[] | undefined;
  /** By default those whose content is there. */
  readonly states?: readonly ImageState[] | undefined;
  /** Only images of exactly this name. */
  readonly name?: string | undefined;
  readonly operatingSystem?: string | undefined;
  readonly operatingSystemVersion?: string | undefined;
  /** Only images that may be launched with this shape: those that name it, or none. */
  readonly shape?: string | undefined;
  /** By default by the time of their making. */
  readonly sortBy?: 'time' | 'name' | undefined;
  /** By default the newest first, names in their order. */
  readonly order?: 'asc' | 'desc' | undefined;
  /** A cursor: the id of the image before, or of a list by name what `next` gave. */
  readonly startAfter?: string | undefined;
  readonly limit: number;
}

export async function listImages(queries: Queries, listing: ImageListing): Promise<Page<ImageWithState>> {
  const { sortBy = 'time', startAfter, limit } = listing;
  const order = listing.order ?? (sortBy === 'time' ? 'desc' : 'asc');
  const after = order === 'asc' ? '>' : '<';
  let query = filtered(withState(queries), listing);
  if (sortBy === 'name') {
    if (startAfter !== undefined) {
      const { name, id } = nameCursor(startAfter);
      query = query.where((where) =>
        where.or([
          where('images.name', after, name),
          where.and([where('images.name', '=', name), where('images.id', after, id)]),
        ]),
      );
    }
    query = query.orderBy('images.name', order);
  } else if (startAfter !== undefined) {
    query = query.where('images.id', after, startAfter);
  }
  const rows = await query
    .orderBy('images.id', order)
    .limit(limit + 1)
    .execute();
  return toPage(rows, limit, (row) => (sortBy === 'name' ? JSON.stringify([row.name, row.id]) : row.id));
}

function filtered(query: WithState, listing: ImageListing): WithState {
  const { tenancyId, compartmentIds, states = ['available', 'exporting'], name, shape } = listing;
  let found = query.where('images.tenancy_id', '=', tenancyId).where(state, 'in', states);
  if (compartmentIds !== undefined) found = found.where('images.compartment_id', 'in', [...compartmentIds]);
  if (name !== undefined) found = found.where('images.name', '=', name);
  if (listing.operatingSystem !== undefined)
    found = found.where('images.operating_system', '=', listing.operatingSystem);
  if (listing.operatingSystemVersion !== undefined)
    found = found.where('images.operating_system_version', '=', listing.operatingSystemVersion);
  if (shape === undefined) return found;
  return found.where(({ or, exists, not, selectFrom }) => {
    const named = selectFrom('image_shapes')
      .select('image_shapes.shape')
      .whereRef('image_shapes.image_id', '=', 'images.id');
    return or([exists(named.where('image_shapes.shape', '=', shape)), not(exists(named))]);
  });
}

/** A cursor that is none of ours begins at the beginning. */
function nameCursor(text: string): { name: string; id: string } {
  try {
    const [name, id] = JSON.parse(text) as unknown[];
    if (typeof name === 'string' && typeof id === 'string') return { name, id };
  } catch {
    // As below.
  }
  return { name: '', id: '' };
}

/** Whether the tenancy has a platform image of this name that is there. */
export async function isPlatformName(queries: Queries, tenancyId: string, name: string): Promise<boolean> {
  const row = await queries
    .selectFrom('images')
    .select('id')
    .where('tenancy_id', '=', tenancyId)
    .where('kind', '=', 'platform')
    .where('name', '=', name)
    .where('deleted_at_ms', 'is', null)
    .executeTakeFirst();
  return row !== undefined;
}

/**
 * Gives an image that is being made its content. False when it was deleted meanwhile, or has content already: then
 * nothing is changed.
 */
export async function completeImage(
  transaction: Queries,
  id: string,
  changes: Updateable<ImageRow>,
): Promise<boolean> {
  const completed = await transaction
    .updateTable('images')
    .set((row) => ({ ...changes, version: row('version', '+', 1) }))
    .where('id', '=', id)
    .where('manifest_id', 'is', null)
    .where('deleted_at_ms', 'is', null)
    .returning('id')
    .executeTakeFirst();
  return completed !== undefined;
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

/** Forgets images that were deleted, or whose making ended without one, before `beforeMs`. Returns how many. */
export async function forgetImages(queries: Queries, beforeMs: number): Promise<number> {
  const { numDeletedRows } = await queries
    .deleteFrom('images')
    .where((where) =>
      where.or([
        where('deleted_at_ms', '<', beforeMs),
        where.and([
          where('manifest_id', 'is', null),
          where.exists(
            where
              .selectFrom('jobs')
              .select('jobs.id')
              .whereRef('jobs.id', '=', 'images.job_id')
              .where('jobs.state', 'in', ['failed', 'canceled'])
              .where('jobs.finished_at_ms', '<', beforeMs),
          ),
        ]),
      ]),
    )
    .executeTakeFirst();
  return Number(numDeletedRows);
}
