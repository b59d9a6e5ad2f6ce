import { type ExpressionBuilder, type RawBuilder, sql, type Updateable } from 'kysely';
import { type Page, toPage } from '../page.ts';
import type { JobLogRow, JobResourceRow, JobRow, JobState, Schema } from '../schema.ts';
import { forUpdate, locksRows, type Queries } from '../transactions.ts';

/** In the words of the index jobs_not_over: with parameters instead, SQLite would not use it. */
const notOver: RawBuilder<boolean> = sql<boolean>`state IN ('queued', 'running')`;

/** What a job makes or works on. */
export interface JobResource {
  readonly resourceId: string;
  /** `image`, `object`, `instance`, … */
  readonly entityType: string;
  readonly action: JobResourceRow['action'];
}

export async function insertJobResources(
  queries: Queries,
  jobId: string,
  resources: readonly JobResource[],
): Promise<void> {
  if (resources.length === 0) return;
  const rows = resources.map(({ resourceId, entityType, action }) => ({
    job_id: jobId,
    resource_id: resourceId,
    entity_type: entityType,
    action,
  }));
  await queries.insertInto('job_resources').values(rows).execute();
}

/** What these jobs make or work on, in the order of the jobs' ids. */
export function listJobResources(queries: Queries, jobIds: readonly string[]): Promise<JobResourceRow[]> {
  if (jobIds.length === 0) return Promise.resolve([]);
  return queries
    .selectFrom('job_resources')
    .selectAll()
    .where('job_id', 'in', [...jobIds])
    .orderBy('job_id')
    .orderBy('resource_id')
    .execute();
}

export async function insertJob(queries: Queries, row: JobRow): Promise<void> {
  await queries.insertInto('jobs').values(row).execute();
}

export function findJob(queries: Queries, tenancyId: string, id: string): Promise<JobRow | undefined> {
  return queries
    .selectFrom('jobs')
    .selectAll()
    .where('tenancy_id', '=', tenancyId)
    .where('id', '=', id)
    .executeTakeFirst();
}

/** The job, which nothing changes until the transaction ends. */
export function lockJob(queries: Queries, tenancyId: string, id: string): Promise<JobRow | undefined> {
  const query = queries
    .selectFrom('jobs')
    .selectAll()
    .where('tenancy_id', '=', tenancyId)
    .where('id', '=', id);
  return forUpdate(queries, query).executeTakeFirst();
}

export function updateJob(queries: Queries, id: string, changes: Updateable<JobRow>): Promise<JobRow> {
  return queries
    .updateTable('jobs')
    .set(changes)
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

export interface JobVisibility {
  readonly userId: string;
  /** Kinds by what they begin with: `image` for `image-import`. */
  readonly kinds: readonly { readonly prefix: string; readonly compartmentIds: readonly string[] }[];
}

export interface JobListing {
  readonly tenancyId: string;
  /** Jobs in one of these states; all when empty. So are kinds. */
  readonly states?: readonly JobState[] | undefined;
  readonly kinds?: readonly string[] | undefined;
  /** Only those of this user, and those of some kinds in some compartments; all when absent. */
  readonly visibleTo?: JobVisibility | undefined;
  readonly compartmentId?: string | undefined;
  /** Only jobs that make or work on this. */
  readonly resourceId?: string | undefined;
  /** Only jobs that a dialect has a name for. */
  readonly hasOperation?: boolean | undefined;
  /** A cursor: the id of the job before. */
  readonly startAfter?: string | undefined;
  readonly limit: number;
}

/** A tenancy's jobs, newest first; the cursor is an id. */
export async function listJobs(queries: Queries, listing: JobListing): Promise<Page<JobRow>> {
  const { tenancyId, states = [], kinds = [], startAfter, limit } = listing;
  const { visibleTo, compartmentId, resourceId } = listing;
  let query = queries.selectFrom('jobs').selectAll().where('tenancy_id', '=', tenancyId);
  if (states.length > 0) query = query.where('state', 'in', states);
  if (kinds.length > 0) query = query.where('kind', 'in', kinds);
  if (compartmentId !== undefined) query = query.where('compartment_id', '=', compartmentId);
  if (listing.hasOperation === true) query = query.where('operation', 'is not', null);
  if (visibleTo !== undefined) {
    query = query.where((where) =>
      where.or([
        where('user_id', '=', visibleTo.userId),
        ...visibleTo.kinds.map(({ prefix, compartmentIds }) =>
          where.and([
            where('kind', 'like', `${prefix}-%`),
            where('compartment_id', 'in', [...compartmentIds]),
          ]),
        ),
      ]),
    );
  }
  if (resourceId !== undefined) {
    query = query.where(({ exists, selectFrom }) =>
      exists(
        selectFrom('job_resources')
          .select('job_resources.job_id')
          .whereRef('job_resources.job_id', '=', 'jobs.id')
          .where('job_resources.resource_id', '=', resourceId),
      ),
    );
  }
  if (startAfter !== undefined) query = query.where('id', '<', startAfter);
  const rows = await query
    .orderBy('id', 'desc')
    .limit(limit + 1)
    .execute();
  return toPage(rows, limit, (row) => row.id);
}

export interface JobClaim {
  readonly owner: string;
  /** What the worker can do. */
  readonly kinds: readonly string[];
  /** What the worker is doing: not claimed again from it, even when its lease ended. */
  readonly exceptIds: readonly string[];
  readonly nowMs: number;
  readonly leaseUntilMs: number;
}

/**
 * Gives the oldest job that waits, or whose worker let its lease end, to this worker and to no other: one
 * statement, in which concurrent claims pass over each other's rows.
 */
export async function claimJob(queries: Queries, claim: JobClaim): Promise<JobRow | undefined> {
  if (claim.kinds.length === 0) return undefined;
  let candidate = queries
    .selectFrom('jobs')
    .select('id')
    .where(notOver)
    .where('kind', 'in', claim.kinds)
    .where((where) => isClaimable(where, claim.nowMs))
    .orderBy('id')
    .limit(1);
  if (claim.exceptIds.length > 0) candidate = candidate.where('id', 'not in', claim.exceptIds);
  if (locksRows(queries)) candidate = candidate.forUpdate().skipLocked();
  return queries
    .updateTable('jobs')
    .set((job) => {
      const lost = job.case().when('state', '=', 'running').then(job.lit(1)).else(job.lit(0)).end();
      return {
        state: 'running' as const,
        attempt: job('attempt', '+', 1),
        fence: job('fence', '+', 1),
        lost_count: job('lost_count', '+', lost),
        lease_owner: claim.owner,
        lease_until_ms: claim.leaseUntilMs,
        started_at_ms: job.fn.coalesce('started_at_ms', job.val(claim.nowMs)),
        updated_at_ms: claim.nowMs,
      };
    })
    .where('id', '=', candidate)
    .returningAll()
    .executeTakeFirst();
}

function isClaimable(where: ExpressionBuilder<Schema, 'jobs'>, nowMs: number) {
  return where.or([
    where.and([where('state', '=', 'queued'), where('not_before_ms', '<=', nowMs)]),
    where.and([where('state', '=', 'running'), where('lease_until_ms', '<=', nowMs)]),
  ]);
}

/** One claim of one job: what every write of a worker must match. */
export interface JobHold {
  readonly id: string;
  readonly fence: number;
}

/** Undefined when the job is not this worker's any more. */
export function updateHeldJob(
  queries: Queries,
  hold: JobHold,
  changes: Updateable<JobRow>,
): Promise<Pick<JobRow, 'cancel_requested'> | undefined> {
  return queries
    .updateTable('jobs')
    .set((job) => {
      const percent = changes.percent_done;
      if (percent === undefined) return changes;
      const higher = job.case().when('percent_done', '<', percent).then(percent);
      return { ...changes, percent_done: higher.else(job.ref('percent_done')).end() };
    })
    .where('id', '=', hold.id)
    .where('fence', '=', hold.fence)
    .where('state', '=', 'running')
    .returning('cancel_requested')
    .executeTakeFirst();
}

/** The worker's job, which nothing changes until the transaction ends; undefined when it is not its any more. */
export function lockHeldJob(queries: Queries, hold: JobHold): Promise<JobRow | undefined> {
  const query = queries
    .selectFrom('jobs')
    .selectAll()
    .where('id', '=', hold.id)
    .where('fence', '=', hold.fence)
    .where('state', '=', 'running');
  return forUpdate(queries, query).executeTakeFirst();
}

/** Ends every hold, whoever's and however long: for a worker that knows that all others are dead. */
export async function endAllHolds(queries: Queries, nowMs: number): Promise<void> {
  const released = { lease_owner: null, lease_until_ms: null, bytes_per_second: null, updated_at_ms: nowMs };
  await queries
    .updateTable('jobs')
    .set({ ...released, state: 'canceled', cancel_requested: 0, finished_at_ms: nowMs })
    .where(notOver)
    .where('state', '=', 'running')
    .where('cancel_requested', '=', 1)
    .where('checkpoint_json', 'is', null)
    .execute();
  await queries
    .updateTable('jobs')
    .set((job) => ({ ...released, state: 'queued' as const, lost_count: job('lost_count', '+', 1) }))
    .where(notOver)
    .where('state', '=', 'running')
    .execute();
}

/** Which of these jobs someone wants canceled. */
export async function findCancelRequests(queries: Queries, ids: readonly string[]): Promise<string[]> {
  if (ids.length === 0) return [];
  const rows = await queries
    .selectFrom('jobs')
    .select('id')
    .where('id', 'in', ids)
    .where('cancel_requested', '=', 1)
    .execute();
  return rows.map((row) => row.id);
}

export async function insertJobLog(queries: Queries, row: Omit<JobLogRow, 'id'>): Promise<void> {
  await queries.insertInto('job_log').values(row).execute();
}

export interface JobLogLine extends Omit<JobLogRow, 'id'> {
  readonly id: number;
}

export interface JobLogListing {
  /** A cursor: the id of the line before. */
  readonly startAfter?: number | undefined;
  /** By default the oldest first. */
  readonly order?: 'asc' | 'desc' | undefined;
  readonly limit: number;
}

/** A job's log. */
export function listJobLog(
  queries: Queries,
  { jobId, startAfter, order = 'asc', limit }: JobLogListing & { readonly jobId: string },
): Promise<JobLogLine[]> {
  let query = queries.selectFrom('job_log').selectAll().where('job_id', '=', jobId);
  if (startAfter !== undefined) query = query.where('id', order === 'asc' ? '>' : '<', startAfter);
  return query.orderBy('id', order).limit(limit).execute();
}

/** All jobs that are not over, of all tenancies. */
export function liveJobs(queries: Queries): Promise<Pick<JobRow, 'id' | 'input_json' | 'checkpoint_json'>[]> {
  return queries.selectFrom('jobs').select(['id', 'input_json', 'checkpoint_json']).where(notOver).execute();
}

/** Whether a job of this kind that works on this is not over. */
export async function hasLiveJob(queries: Queries, resourceId: string, kind: string): Promise<boolean> {
  const row = await queries
    .selectFrom('job_resources')
    .innerJoin('jobs', 'jobs.id', 'job_resources.job_id')
    .select('jobs.id')
    .where('job_resources.resource_id', '=', resourceId)
    .where('jobs.kind', '=', kind)
    .where('jobs.state', 'in', ['queued', 'running'])
    .executeTakeFirst();
  return row !== undefined;
}

/** Of the jobs that work on these and are not over, the kind of the last one, by what it works on. */
export async function liveJobKinds(
  queries: Queries,
  resourceIds: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  if (resourceIds.length === 0) return new Map();
  const rows = await queries
    .selectFrom('job_resources')
    .innerJoin('jobs', 'jobs.id', 'job_resources.job_id')
    .select(['job_resources.resource_id', 'jobs.kind'])
    .where('job_resources.resource_id', 'in', [...resourceIds])
    .where('jobs.state', 'in', ['queued', 'running'])
    .orderBy('jobs.id')
    .execute();
  return new Map(rows.map(({ resource_id, kind }) => [resource_id, kind]));
}

/** How many jobs there are in each state that occurs. */
export async function countJobsByState(queries: Queries): Promise<Partial<Record<JobState, number>>> {
  const rows = await queries
    .selectFrom('jobs')
    .select(({ fn }) => ['state', fn.countAll<number>().as('count')])
    .groupBy('state')
    .execute();
  return Object.fromEntries(rows.map((row) => [row.state, row.count]));
}
