import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Jobs } from '../../domain/jobs.ts';
import { errorBody } from './errors.ts';
import { jobBody, jobStates, jobWithLogBody, toJobBody, toJobWithLogBody } from './job-schema.ts';
import { listingQuery, pageBody } from './listing.ts';

const jobParameters = z.object({ jobId: z.string() });
/** A job's log is short: a line a phase, a warning now and then. */
const LOG_LINES = 1000;

/** Jobs: list, show with the log, cancel, retry. */
export function jobRoutes(jobs: Jobs): FastifyPluginAsyncZod {
  return async (app) => {
    app.get(
      '/jobs',
      {
        schema: {
          summary: 'List jobs, newest first',
          tags: ['jobs'],
          querystring: listingQuery.extend({ state: z.enum(jobStates).optional() }),
          response: { 200: pageBody(jobBody), default: errorBody },
        },
      },
      async ({ query, principal }) => {
        const { limit, startAfter, state } = query;
        const states = state === undefined ? [] : [state];
        const page = await jobs.list(principal, { states, startAfter, limit });
        return { items: page.items.map(toJobBody), nextStartAfter: page.next ?? null };
      },
    );
    app.get(
      '/jobs/:jobId',
      {
        schema: {
          summary: 'Show a job with its log',
          tags: ['jobs'],
          params: jobParameters,
          response: { 200: jobWithLogBody, default: errorBody },
        },
      },
      async ({ params, principal }) => {
        const job = await jobs.get(principal, params.jobId);
        return toJobWithLogBody(job, await jobs.log(principal, job.id, { limit: LOG_LINES }));
      },
    );
    app.post(
      '/jobs/:jobId/cancel',
      {
        schema: {
          summary: 'Cancel a job; one that runs ends soon after',
          tags: ['jobs'],
          params: jobParameters,
          response: { 200: jobBody, default: errorBody },
        },
      },
      async ({ params, principal }) => toJobBody(await jobs.cancel(principal, params.jobId)),
    );
    app.post(
      '/jobs/:jobId/retry',
      {
        schema: {
          summary: 'Queue a failed or canceled job again; it goes on where it stopped',
          tags: ['jobs'],
          params: jobParameters,
          response: { 200: jobBody, default: errorBody },
        },
      },
      async ({ params, principal }) => toJobBody(await jobs.retry(principal, params.jobId)),
    );
  };
}
