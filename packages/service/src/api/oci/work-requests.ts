import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Principal } from '../../auth/tokens.ts';
import { DomainError } from '../../domain/errors.ts';
import type { Jobs } from '../../domain/jobs.ts';
import type { Region } from '../../domain/region.ts';
import type { Job, JobLogLine } from '../../jobs/job.ts';
import { compartmentId, compartmentOcid, fromOcid, idInPath, type OcidType, toOcid } from './ocid.ts';
import { answerPage, cursorOf, pageQuery } from './pages.ts';

/** Jobs of the core services; object storage has work requests of its own. */
const kinds: readonly string[] = [
  'image-import',
  'image-export',
  'image-capture',
  'instance-record',
  'instance-launch',
  'instance-start',
  'instance-stop',
  'instance-reset',
  'instance-terminate',
  'volume-attach',
  'volume-detach',
];
const types: Readonly<Record<string, { readonly type: OcidType; readonly path: string }>> = {
  image: { type: 'image', path: 'images' },
  instance: { type: 'instance', path: 'instances' },
};
/** Identity answers for its own under the same path, told apart by a pattern; Fastify knows but one of them. */
const ONE = '/20160918/workRequests/:workRequest';
const parameters = z.object({ workRequest: z.string() });
const partsQuery = pageQuery.extend({ sortOrder: z.enum(['ASC', 'DESC']).default('ASC') });

export interface WorkRequestParts {
  readonly jobs: Jobs;
  readonly region: Region;
}

/** Work requests of images and instances: their jobs, in OCI's words. */
export function workRequestRoutes({ jobs, region }: WorkRequestParts): FastifyPluginAsyncZod {
  const required = async (principal: Principal, params: z.infer<typeof parameters>): Promise<Job> => {
    const job = await jobs.get(principal, idInPath(['coreservicesworkrequest'], params.workRequest));
    if (kinds.includes(job.kind)) return job;
    throw new DomainError('NOT_FOUND', `there is no work request ${params.workRequest}`);
  };
  const bodies = async (found: readonly Job[]) => {
    const resources = await jobs.resources(found);
    return found.map((job) => ({
      ...toWorkRequest(job, region.name),
      resources: (resources.get(job.id) ?? []).flatMap(({ resourceId, entityType, action }) => {
        const known = types[entityType];
        if (known === undefined) return [];
        const identifier = toOcid(known.type, region.name, resourceId);
        const isOver = job.state !== 'queued' && job.state !== 'running';
        const actionType = isOver || action === 'related' ? action.toUpperCase() : 'IN_PROGRESS';
        return [{ actionType, entityType, identifier, entityUri: `/20160918/${known.path}/${identifier}` }];
      }),
    }));
  };
  return async (app) => {
    app.get(
      '/20160918/workRequests',
      {
        schema: {
          querystring: pageQuery.extend({ compartmentId: z.string(), resourceId: z.string().optional() }),
        },
      },
      async ({ query, principal }, reply) => {
        const { resourceId, page, limit } = query;
        const wanted = resourceId === undefined ? undefined : fromOcid(['image', 'instance'], resourceId);
        if (resourceId !== undefined && wanted === undefined) return [];
        const found = await jobs.list(principal, {
          kinds,
          compartmentId: compartmentId(query.compartmentId),
          resourceId: wanted,
          startAfter: cursorOf(page),
          limit,
        });
        return bodies(answerPage(reply, found));
      },
    );
    app.get(ONE, { schema: { params: parameters } }, async ({ params, principal }) => {
      const [body] = await bodies([await required(principal, params)]);
      return body;
    });
    app.get(
      `${ONE}/errors`,
      { schema: { params: parameters, querystring: partsQuery } },
      async ({ params, principal }) => errorsOf(await required(principal, params)),
    );
    app.get(
      `${ONE}/logs`,
      { schema: { params: parameters, querystring: partsQuery } },
      async ({ params, principal, query }, reply) => {
        const job = await required(principal, params);
        const { page, limit, sortOrder } = query;
        const cursor = cursorOf(page);
        const lines = await jobs.log(principal, job.id, {
          startAfter: cursor === undefined ? undefined : Number(cursor),
          order: sortOrder === 'ASC' ? 'asc' : 'desc',
          limit: limit + 1,
        });
        const items = lines.slice(0, limit);
        const next = lines.length > limit ? String(items.at(-1)?.id) : undefined;
        return answerPage(reply, { items, next }).map(logEntry);
      },
    );
  };
}

/** What all services say of a work request. */
export interface WorkRequestBody {
  readonly id: string;
  readonly operationType: string;
  readonly status: string;
  readonly compartmentId: string;
  readonly percentComplete: number;
  readonly timeAccepted: string;
  readonly timeStarted?: string;
  readonly timeFinished?: string;
}

/** Clients wait for `timeFinished` and nothing else: it is there in every state that does not end by itself. */
export function toWorkRequest(job: Job, region: string): WorkRequestBody {
  const finishedAtMs = job.finishedAtMs;
  const startedAtMs = job.startedAtMs ?? finishedAtMs;
  return {
    id: toOcid('coreservicesworkrequest', region, job.id),
    operationType: job.operation ?? job.kind,
    status: statusOf(job),
    compartmentId: compartmentOcid(job.compartmentId ?? job.tenancyId),
    percentComplete: job.percentDone,
    timeAccepted: new Date(job.createdAtMs).toISOString(),
    ...(startedAtMs !== undefined && { timeStarted: new Date(startedAtMs).toISOString() }),
    ...(finishedAtMs !== undefined && { timeFinished: new Date(finishedAtMs).toISOString() }),
  };
}

function statusOf(job: Job): string {
  switch (job.state) {
    case 'queued':
      if (job.cancelRequested) return 'CANCELING';
      return job.attempt === 0 ? 'ACCEPTED' : 'IN_PROGRESS';
    case 'running':
      return job.cancelRequested ? 'CANCELING' : 'IN_PROGRESS';
    default:
      return job.state.toUpperCase();
  }
}

export function logEntry({ level, message, atMs }: JobLogLine): { message: string; timestamp: string } {
  return {
    message: level === 'info' ? message : `${level}: ${message}`,
    timestamp: new Date(atMs).toISOString(),
  };
}

export function errorsOf(job: Job): { code: string; message: string; timestamp: string }[] {
  const timestamp = new Date(job.finishedAtMs ?? job.updatedAtMs).toISOString();
  if (job.state === 'canceled') return [{ code: 'CANCELED', message: 'the work was canceled', timestamp }];
  if (job.error === undefined) return [];
  const { code, message, hint } = job.error;
  return [{ code, message: hint === null ? message : `${message} (${hint})`, timestamp }];
}
