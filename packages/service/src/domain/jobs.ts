import type { Principal } from '../auth/tokens.ts';
import type { Page } from '../db/page.ts';
import type { JobListing, JobLogListing, JobResource } from '../db/repositories/jobs.ts';
import type { Queries } from '../db/transactions.ts';
import type { Job, JobLogLine } from '../jobs/job.ts';
import type { JobQueue } from '../jobs/queue.ts';
import type { Access, Resource } from './access.ts';
import { DomainError } from './errors.ts';

/** What kinds of jobs, by what they begin with, are about. */
const resources: Readonly<Record<string, Resource>> = {
  image: 'images',
  instance: 'instances',
  volume: 'volumes',
  object: 'objects',
};

/**
 * Whether the principal may have a job done again now, as if it were asked for anew; undefined for a job that nothing
 * stands against. Throws why not, in the transaction that queues it what only that can tell.
 */
export type RetryPermit = (
  principal: Principal,
  job: Job,
) => Promise<((transaction: Queries) => Promise<void>) | undefined>;

/**
 * Jobs as their users see them: everybody the own ones, administrators all of the tenancy, others those in
 * compartments where they may inspect what the job is about.
 */
export class Jobs {
  readonly #queue: JobQueue;
  readonly #access: Access;
  readonly #permitRetry: RetryPermit;

  constructor(queue: JobQueue, access: Access, permitRetry: RetryPermit) {
    this.#queue = queue;
    this.#access = access;
    this.#permitRetry = permitRetry;
  }

  async list(principal: Principal, listing: Omit<JobListing, 'tenancyId' | 'visibleTo'>): Promise<Page<Job>> {
    const { tenancyId, userId, role } = principal;
    if (role === 'administrator') return this.#queue.list({ ...listing, tenancyId });
    const kinds = [];
    for (const [prefix, resource] of Object.entries(resources)) {
      const compartmentIds = (await this.#access.where(principal, 'inspect', resource)) ?? [];
      if (compartmentIds.length > 0) kinds.push({ prefix, compartmentIds });
    }
    return this.#queue.list({ ...listing, tenancyId, visibleTo: { userId, kinds } });
  }

  /** Throws NOT_FOUND. */
  async get(principal: Principal, id: string): Promise<Job> {
    return this.#require(principal, 'inspect', id);
  }

  /** Throws NOT_FOUND. */
  async log(principal: Principal, id: string, listing: JobLogListing): Promise<JobLogLine[]> {
    await this.#require(principal, 'inspect', id);
    return this.#queue.log(principal.tenancyId, id, listing);
  }

  /** What jobs that the principal got here make or work on. */
  resources(jobs: readonly Job[]): Promise<ReadonlyMap<string, readonly JobResource[]>> {
    return this.#queue.resources(jobs.map(({ id }) => id));
  }

  /** Throws NOT_FOUND, FORBIDDEN, and CONFLICT for a job that is over. */
  async cancel(principal: Principal, id: string): Promise<Job> {
    await this.#require(principal, 'manage', id);
    return this.#queue.cancel(principal.tenancyId, id);
  }

  /**
   * Throws NOT_FOUND, FORBIDDEN, and CONFLICT for a job that neither failed nor was canceled, and for one whose instance
   * another job works on.
   */
  async retry(principal: Principal, id: string): Promise<Job> {
    const job = await this.#require(principal, 'manage', id);
    const permit = await this.#permitRetry(principal, job);
    return this.#queue.retry(principal.tenancyId, id, permit);
  }

  async #require(principal: Principal, verb: 'inspect' | 'manage', id: string): Promise<Job> {
    const job = await this.#queue.get(principal.tenancyId, id);
    if (principal.role === 'administrator' || job.userId === principal.userId) return job;
    const absent = () => new DomainError('NOT_FOUND', `there is no job ${id}`);
    const resource = resources[job.kind.split('-')[0] ?? ''];
    if (resource === undefined || job.compartmentId === undefined) throw absent();
    await this.#access.demand(principal, verb, resource, job.compartmentId, absent);
    return job;
  }
}
