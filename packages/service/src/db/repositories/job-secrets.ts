import type { Queries } from '../transactions.ts';

/** Keeps what a job's handler needs and a job's readers must not see. */
export async function insertJobSecret(queries: Queries, jobId: string, secret: string): Promise<void> {
  await queries.insertInto('job_secrets').values({ job_id: jobId, secret }).execute();
}

export async function findJobSecret(queries: Queries, jobId: string): Promise<string | undefined> {
  const row = await queries
    .selectFrom('job_secrets')
    .select('secret')
    .where('job_id', '=', jobId)
    .executeTakeFirst();
  return row?.secret;
}

/** Keeps another in its place. */
export async function updateJobSecret(queries: Queries, jobId: string, secret: string): Promise<void> {
  await queries.updateTable('job_secrets').set({ secret }).where('job_id', '=', jobId).execute();
}

/** Forgets it; a job that succeeded needs it no more. */
export async function deleteJobSecret(queries: Queries, jobId: string): Promise<void> {
  await queries.deleteFrom('job_secrets').where('job_id', '=', jobId).execute();
}

/** Forgets those of jobs that ended before a moment, however they did. */
export async function forgetJobSecrets(queries: Queries, finishedBeforeMs: number): Promise<void> {
  const ended = queries.selectFrom('jobs').select('id').where('finished_at_ms', '<', finishedBeforeMs);
  await queries.deleteFrom('job_secrets').where('job_id', 'in', ended).execute();
}
