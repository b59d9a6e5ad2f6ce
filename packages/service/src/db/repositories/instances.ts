import type { Updateable } from 'kysely';
import { type Page, toPage } from '../page.ts';
import type { InstanceRow } from '../schema.ts';
import { forUpdate, type Queries } from '../transactions.ts';

export async function insertInstance(queries: Queries, row: InstanceRow): Promise<void> {
  await queries.insertInto('instances').values(row).execute();
}

/** The instance, also one that was terminated. */
export function findInstance(
  queries: Queries,
  tenancyId: string,
  id: string,
): Promise<InstanceRow | undefined> {
  return queries
    .selectFrom('instances')
    .selectAll()
    .where('tenancy_id', '=', tenancyId)
    .where('id', '=', id)
    .executeTakeFirst();
}

/** The instance, which nothing changes until the transaction ends. */
export function lockInstance(
  transaction: Queries,
  tenancyId: string,
  id: string,
): Promise<InstanceRow | undefined> {
  const query = transaction
    .selectFrom('instances')
    .selectAll()
    .where('tenancy_id', '=', tenancyId)
    .where('id', '=', id);
  return forUpdate(transaction, query).executeTakeFirst();
}

/** Writes these columns and raises the version. */
export function updateInstance(
  queries: Queries,
  id: string,
  changes: Updateable<InstanceRow>,
): Promise<InstanceRow> {
  return queries
    .updateTable('instances')
    .set((row) => ({ ...changes, version: row('version', '+', 1) }))
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

export interface InstanceListing {
  readonly tenancyId: string;
  readonly compartmentIds?: readonly string[] | undefined;
  readonly name?: string | undefined;
  readonly availabilityDomain?: string | undefined;
  readonly state?: string | undefined;
  readonly sortBy?: 'time' | 'name' | undefined;
  readonly order?: 'asc' | 'desc' | undefined;
  /** A cursor: what `next` gave. */
  readonly startAfter?: string | undefined;
  readonly limit: number;
}

/** Newest first, or names in their order. Terminated instances are among them until they are forgotten. */
export async function listInstances(queries: Queries, listing: InstanceListing): Promise<Page<InstanceRow>> {
  const { tenancyId, compartmentIds, name, availabilityDomain, state, sortBy = 'time', limit } = listing;
  const order = listing.order ?? (sortBy === 'time' ? 'desc' : 'asc');
  const after = order === 'asc' ? '>' : '<';
  let query = queries.selectFrom('instances').selectAll().where('tenancy_id', '=', tenancyId);
  if (compartmentIds !== undefined) query = query.where('compartment_id', 'in', [...compartmentIds]);
  if (name !== undefined) query = query.where('name', '=', name);
  if (availabilityDomain !== undefined) query = query.where('availability_domain', '=', availabilityDomain);
  if (state !== undefined) query = query.where('state', '=', state);
  const [id, lastName] = (listing.startAfter ?? '').split('\n');
  if (id !== undefined && id !== '') {
    query =
      sortBy === 'time'
        ? query.where('id', after, id)
        : query.where((where) =>
            where.or([
              where('name', after, lastName ?? ''),
              where.and([where('name', '=', lastName ?? ''), where('id', after, id)]),
            ]),
          );
  }
  if (sortBy === 'name') query = query.orderBy('name', order);
  const rows = await query
    .orderBy('id', order)
    .limit(limit + 1)
    .execute();
  return toPage(rows, limit, (row) => (sortBy === 'name' ? `${row.id}\n${row.name}` : row.id));
}

/** Forgets instances that were terminated before `beforeMs`, with what was attached to them. */
export async function forgetInstances(queries: Queries, beforeMs: number): Promise<void> {
  const gone = queries.selectFrom('instances').select('id').where('deleted_at_ms', '<', beforeMs);
  await queries.deleteFrom('volume_attachments').where('instance_id', 'in', gone).execute();
  await queries.deleteFrom('instances').where('deleted_at_ms', '<', beforeMs).execute();
}
