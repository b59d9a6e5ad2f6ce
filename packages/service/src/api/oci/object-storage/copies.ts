import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Principal } from '../../../auth/tokens.ts';
import { COPY_JOB, type Copies, copyInput } from '../../../domain/copies.ts';
import { DomainError } from '../../../domain/errors.ts';
import type { Jobs } from '../../../domain/jobs.ts';
import type { Tenancies } from '../../../domain/tenancies.ts';
import type { Job } from '../../../jobs/job.ts';
import { compartmentId, idInPath, toOcid } from '../ocid.ts';
import { answerPage, cursorOf, pageQuery } from '../pages.ts';
import { errorsOf, logEntry, toWorkRequest } from '../work-requests.ts';
import { bucketOfPath } from './names.ts';
import { metadataField, requireNoCustomerKeys, storageTierOf } from './object-headers.ts';
import { etagList } from './objects.ts';

const bucketParameters = z.object({ namespace: z.string(), bucket: z.string() });
const parameters = z.object({ workRequest: z.string() });
/** In seconds: what the official clients are told to wait before they ask again. */
const RETRY_AFTER = '1';
const LOG_LINES_MAX = 1000;

export interface OciCopyParts {
  readonly region: string;
  readonly tenancies: Tenancies;
  readonly copies: Copies;
  readonly jobs: Jobs;
}

/** Copies of objects, and object storage's own work requests, which are their jobs. */
export function copyRoutes({ region, tenancies, copies, jobs }: OciCopyParts): FastifyPluginAsyncZod {
  const required = async (principal: Principal, params: z.infer<typeof parameters>): Promise<Job> => {
    const job = await jobs.get(principal, idInPath(['coreservicesworkrequest'], params.workRequest));
    if (job.kind === COPY_JOB) return job;
    throw new DomainError('NOT_FOUND', `there is no work request ${params.workRequest}`);
  };
  return async (app) => {
    app.post(
      '/n/:namespace/b/:bucket/actions/copyObject',
      {
        schema: {
          params: bucketParameters,
          body: z.object({
            sourceObjectName: z.string(),
            sourceObjectIfMatchETag: z.string().nullish(),
            sourceVersionId: z.string().nullish(),
            destinationRegion: z.string(),
            destinationNamespace: z.string(),
            destinationBucket: z.string(),
            destinationObjectName: z.string(),
            destinationObjectIfMatchETag: z.string().nullish(),
            destinationObjectIfNoneMatchETag: z.string().nullish(),
            destinationObjectMetadata: metadataField,
            destinationObjectStorageTier: z.string().nullish(),
          }),
        },
      },
      async (request, reply) => {
        requireNoCustomerKeys(request.headers);
        const { body } = request;
        const { principal, bucket } = await bucketOfPath(tenancies, request);
        const job = await copies.start(principal, {
          source: {
            bucket,
            key: body.sourceObjectName,
            // A version's name is its ETag.
            ifMatch: etagList(body.sourceObjectIfMatchETag ?? body.sourceVersionId),
          },
          target: {
            region: body.destinationRegion,
            namespace: body.destinationNamespace,
            bucket: body.destinationBucket,
            key: body.destinationObjectName,
            ifMatch: etagList(body.destinationObjectIfMatchETag),
            ifNoneMatch: etagList(body.destinationObjectIfNoneMatchETag),
          },
          metadata: body.destinationObjectMetadata ?? undefined,
          storageTier: storageTierOf(body.destinationObjectStorageTier),
        });
        reply.header('opc-work-request-id', toOcid('coreservicesworkrequest', region, job.id));
        await reply.status(202).send();
      },
    );
    app.get(
      '/workRequests',
      { schema: { querystring: pageQuery.extend({ compartmentId: z.string() }) } },
      async ({ query, principal }, reply) => {
        const { page, limit } = query;
        const found = await jobs.list(principal, {
          kinds: [COPY_JOB],
          compartmentId: compartmentId(query.compartmentId),
          startAfter: cursorOf(page),
          limit,
        });
        return answerPage(reply, found).map((job) => workRequestBody(job, region));
      },
    );
    app.get(
      '/workRequests/:workRequest',
      { schema: { params: parameters } },
      async ({ params, principal }, reply) => {
        const job = await required(principal, params);
        reply.header('retry-after', RETRY_AFTER);
        return workRequestBody(job, region);
      },
    );
    app.delete(
      '/workRequests/:workRequest',
      { schema: { params: parameters } },
      async ({ params, principal }, reply) => {
        const job = await required(principal, params);
        await jobs.cancel(principal, job.id);
        await reply.status(202).send();
      },
    );
    app.get(
      '/workRequests/:workRequest/errors',
      { schema: { params: parameters, querystring: pageQuery } },
      async ({ params, principal }) => errorsOf(await required(principal, params)),
    );
    app.get(
      '/workRequests/:workRequest/logs',
      { schema: { params: parameters, querystring: pageQuery } },
      async ({ params, principal, query }, reply) => {
        const job = await required(principal, params);
        const cursor = cursorOf(query.page);
        const limit = Math.min(query.limit, LOG_LINES_MAX);
        const startAfter = cursor === undefined ? undefined : Number(cursor);
        const lines = await jobs.log(principal, job.id, { startAfter, limit: limit + 1 });
        const items = lines.slice(0, limit);
        const next = lines.length > limit ? String(items.at(-1)?.id) : undefined;
        return answerPage(reply, { items, next }).map(logEntry);
      },
    );
  };
}

function workRequestBody(job: Job, region: string): object {
  const body = toWorkRequest(job, region);
  const { source, target } = copyInput.parse(job.input);
  const resourceOf = (actionType: string, at: { region: string; bucket: string; key: string }) => {
    const names = [target.namespace, at.bucket, at.key].map(encodeURIComponent);
    const uri = `/n/${names[0]}/b/${names[1]}/o/${names[2]}`;
    return {
      actionType,
      entityType: 'object',
      identifier: uri,
      entityUri: uri,
      metadata: { REGION: at.region, NAMESPACE: target.namespace, BUCKET: at.bucket, OBJECT: at.key },
    };
  };
  return {
    ...body,
    status: body.status === 'SUCCEEDED' ? 'COMPLETED' : body.status,
    resources: [resourceOf('READ', { ...source, region }), resourceOf('WRITTEN', target)],
  };
}
