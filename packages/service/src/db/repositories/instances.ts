import { type RawBuilder, type SelectQueryBuilder, sql, type Updateable } from 'kysely';
import { type Page, toPage } from '../page.ts';
import type { InstanceRow, Schema } from '../schema.ts';
import { forUpdate, locksRows, type Queries } from '../transactions.ts';

/** What an instance is doing: it follows from the job that works on it, and from its power. OCI's words. */
export const instanceStates = [
  'PROVISIONING',
  'STARTING',
  'RUNNING',
  'STOPPING',
  'STOPPED',
  'CREATING_IMAGE',
  'TERMINATING',
  'TERMINATED',
] as const;
export type InstanceState = (typeof instanceStates)[number];

/** An instance with its state as of the query. */
export interface InstanceWithState extends InstanceRow {
  readonly state: InstanceState;
  /** The job that works on it now. */
  readonly busy_job_id: string | null;
}

/** Kinds of jobs that have an instance to themselves, and the state that it is in meanwhile. */
const stateOfKind: readonly (readonly [kind: string, state: InstanceState | undefined])[] = [
  ['instance-launch', 'PROVISIONING'],
  ['instance-start', 'STARTING'],
  ['instance-stop', 'STOPPING'],
  ['instance-reset', 'STOPPING'],
  ['instance-terminate', 'TERMINATING'],
  ['image-capture', 'CREATING_IMAGE'],
  ['volume-attach', undefined],
  ['volume-detach', undefined],
];
const kinds: RawBuilder<unknown> = sql.raw(stateOfKind.map(([kind]) => `'${kind}'`).join(', '));

const busyJob: RawBuilder<string | null> = sql<string | null>`(SELECT jobs.id
  FROM job_resources JOIN jobs ON jobs.id = job_resources.job_id
  WHERE job_resources.resource_id = instances.id AND jobs.kind IN (${kinds})
    AND jobs.state IN ('queued', 'running')
  ORDER BY jobs.id DESC LIMIT 1)`;

const stateWhileBusy: RawBuilder<unknown> = sql.raw(
  stateOfKind
    .filter(([, state]) => state !== undefined)
    .map(([kind, state]) => `WHEN '${kind}' THEN '${state}'`)
    .join(' '),
);
const state: RawBuilder<InstanceState> = sql<InstanceState>`CASE
  WHEN instances.deleted_at_ms IS NOT NULL THEN 'TERMINATED'
  ELSE COALESCE((SELECT CASE jobs.kind ${stateWhileBusy} END FROM jobs WHERE jobs.id = ${busyJob}),
    instances.power_state) END`;

type WithState = SelectQueryBuilder<Schema, 'instances', InstanceWithState>;

function withState(queries: Queries): WithState {
  return queries
    .selectFrom('instances')
    .selectAll('instances')
    .select([state.as('state'), busyJob.as('busy_job_id')]) as unknown as WithState;
}

export async function insertInstance(queries: Queries, row: InstanceRow): Promise<void> {
  await queries.insertInto('instances').values(row).execute();
}

/** The instance, also one that was terminated. */
export function findInstance(
  queries: Queries,
  tenancyId: string,
  id: string,
): Promise<InstanceWithState | undefined> {
  return withState(queries)
    .where('instances.tenancy_id', '=', tenancyId)
    .where('instances.id', '=', id)
    .executeTakeFirst();
}

/** The same for the service itself, of whatever tenancy. */
export function findAnyInstance(queries: Queries, id: string): Promise<InstanceWithState | undefined> {
  return withState(queries).where('instances.id', '=', id).executeTakeFirst();
}

/** The instance, which nothing changes until the transaction ends; jobs that work on it begin by locking it, too. */
export async function lockInstance(
  transaction: Queries,
  tenancyId: string,
  id: string,
): Promise<InstanceWithState | undefined> {
  const row = transaction.selectFrom('instances').select('id').where('id', '=', id);
  await forUpdate(transaction, row).execute();
  return findInstance(transaction, tenancyId, id);
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

/** Notes the power of an instance; the version is raised when that is another one. */
export async function notePower(
  queries: Queries,
  id: string,
  power: Pick<InstanceRow, 'power_state' | 'power_reason'>,
): Promise<void> {
  await queries
    .updateTable('instances')
    .set((row) => ({ ...power, version: row('version', '+', 1) }))
    .where('id', '=', id)
    .where('deleted_at_ms', 'is', null)
    .where(({ or, eb }) =>
      or([
        eb('power_state', '!=', power.power_state),
        sql<boolean>`COALESCE(power_reason, '') <> ${power.power_reason ?? ''}`,
      ]),
    )
    .execute();
}

/** Those that are not terminated, of all tenancies. */
export function livePower(
  queries: Queries,
): Promise<Pick<InstanceRow, 'id' | 'power_state' | 'power_reason'>[]> {
  return queries
    .selectFrom('instances')
    .select(['id', 'power_state', 'power_reason'])
    .where('deleted_at_ms', 'is', null)
    .execute();
}

/** What instances of all tenancies take of the host. */
export interface HostShare {
  readonly cpuCount: number;
  readonly memoryBytes: number;
}

/** Of those that run or are about to; nobody else counts until the transaction ends. */
export async function lockedHostShare(transaction: Queries): Promise<HostShare> {
  // Any number will do that nothing else here takes.
  if (locksRows(transaction)) await sql`SELECT pg_advisory_xact_lock(7203)`.execute(transaction);
  const { cpus, memory } = await transaction
    .selectFrom('instances')
    .select(({ fn }) => [
      fn.coalesce(fn.sum<number>('cpu_count'), sql<number>`0`).as('cpus'),
      fn.coalesce(fn.sum<number>('memory_bytes'), sql<number>`0`).as('memory'),
    ])
    .where('deleted_at_ms', 'is', null)
    .where((where) =>
      where.or([
        where('power_state', '=', 'RUNNING'),
        sql<boolean>`${state} IN ('PROVISIONING', 'STARTING', 'STOPPING')`,
      ]),
    )
    .executeTakeFirstOrThrow();
  return { cpuCount: Number(cpus), memoryBytes: Number(memory) };
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
export async function listInstances(
  queries: Queries,
  listing: InstanceListing,
): Promise<Page<InstanceWithState>> {
  const { tenancyId, compartmentIds, name, availabilityDomain, sortBy = 'time', limit } = listing;
  const order = listing.order ?? (sortBy === 'time' ? 'desc' : 'asc');
  const after = order === 'asc' ? '>' : '<';
  let query = withState(queries).where('tenancy_id', '=', tenancyId);
  if (compartmentIds !== undefined) query = query.where('compartment_id', 'in', [...compartmentIds]);
  if (name !== undefined) query = query.where('name', '=', name);
  if (availabilityDomain !== undefined) query = query.where('availability_domain', '=', availabilityDomain);
  if (listing.state !== undefined) query = query.where(state, '=', listing.state as InstanceState);
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
