import type { Database } from '../db/database.ts';
import { makeTenancy } from '../db/repositories/rows.testkit.ts';
import type { JsonValue } from '../json.ts';
import type { Logger } from '../logger.ts';
import type { Job } from './job.ts';
import { isTerminal } from './job.ts';
import { JobQueue } from './queue.ts';

export interface QueueWithTenancy {
  readonly queue: JobQueue;
  readonly tenancyId: string;
  /** Makes a job of this tenancy. */
  create(kind: string, input?: JsonValue): Promise<Job>;
  /** Milliseconds since 1970 by the queue's clock, which only the test moves. */
  readonly clock: { nowMs: number };
}

export async function makeQueue(database: Database): Promise<QueueWithTenancy> {
  const clock = { nowMs: 1_000_000 };
  const queue = new JobQueue(database, { now: () => clock.nowMs });
  const { id: tenancyId } = await makeTenancy(database.kysely);
  const create = (kind: string, input: JsonValue = null): Promise<Job> =>
    queue.create({ tenancyId, kind, input });
  return { queue, tenancyId, create, clock };
}

/** Resolves when `isReached` holds for the job, after a change that this process makes. */
export async function waitForJob(
  queue: JobQueue,
  { tenancyId, id }: Pick<Job, 'tenancyId' | 'id'>,
  isReached: (job: Job) => boolean = (job) => isTerminal(job.state),
): Promise<Job> {
  for (;;) {
    const changed = Promise.withResolvers<void>();
    const unsubscribe = queue.subscribe((_, changedId) => {
      if (changedId === id) changed.resolve();
    });
    try {
      const job = await queue.get(tenancyId, id);
      if (isReached(job)) return job;
      await changed.promise;
    } finally {
      unsubscribe();
    }
  }
}

/** Keeps what a service would log. */
export function makeLogger(): Logger & {
  readonly entries: { level: string; message: string; err?: unknown }[];
} {
  const entries: { level: string; message: string; err?: unknown }[] = [];
  const at =
    (level: string) =>
    (fields: object, message: string): void => {
      entries.push({ ...fields, level, message });
    };
  return { entries, info: at('info'), warn: at('warn'), error: at('error') };
}
