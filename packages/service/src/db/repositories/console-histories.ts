import { type Page, toPage } from '../page.ts';
import type { ConsoleHistoryRow } from '../schema.ts';
import type { Queries } from '../transactions.ts';

export type ConsoleHistorySummary = Omit<ConsoleHistoryRow, 'content'>;

const columns = [
  'id',
  'tenancy_id',
  'compartment_id',
  'instance_id',
  'name',
  'availability_domain',
  'freeform_tags_json',
  'defined_tags_json',
  'version',
  'created_at_ms',
] as const;

export async function insertConsoleHistory(queries: Queries, row: ConsoleHistoryRow): Promise<void> {
  await queries.insertInto('console_histories').values(row).execute();
}

export async function countConsoleHistories(queries: Queries, instanceId: string): Promise<number> {
  const { count } = await queries
    .selectFrom('console_histories')
    .select(({ fn }) => fn.countAll<number>().as('count'))
    .where('instance_id', '=', instanceId)
    .executeTakeFirstOrThrow();
  return Number(count);
}

export function findConsoleHistory(
  queries: Queries,
  tenancyId: string,
  id: string,
): Promise<ConsoleHistorySummary | undefined> {
  return queries
    .selectFrom('console_histories')
    .select(columns)
    .where('tenancy_id', '=', tenancyId)
    .where('id', '=', id)
    .executeTakeFirst();
}

export async function readConsoleHistory(queries: Queries, id: string): Promise<Uint8Array | undefined> {
  const row = await queries
    .selectFrom('console_histories')
    .select('content')
    .where('id', '=', id)
    .executeTakeFirst();
  return row?.content;
}

export async function deleteConsoleHistory(queries: Queries, id: string): Promise<void> {
  await queries.deleteFrom('console_histories').where('id', '=', id).execute();
}

export interface ConsoleHistoryListing {
  readonly tenancyId: string;
  readonly compartmentId: string;
  readonly instanceId?: string | undefined;
  /** A cursor: the id of the one before. */
  readonly startAfter?: string | undefined;
  readonly limit: number;
}

/** Newest first. */
export async function listConsoleHistories(
  queries: Queries,
  { tenancyId, compartmentId, instanceId, startAfter, limit }: ConsoleHistoryListing,
): Promise<Page<ConsoleHistorySummary>> {
  let query = queries
    .selectFrom('console_histories')
    .select(columns)
    .where('tenancy_id', '=', tenancyId)
    .where('compartment_id', '=', compartmentId);
  if (instanceId !== undefined) query = query.where('instance_id', '=', instanceId);
  if (startAfter !== undefined) query = query.where('id', '<', startAfter);
  const rows = await query
    .orderBy('id', 'desc')
    .limit(limit + 1)
    .execute();
  return toPage(rows, limit, ({ id }) => id);
}
