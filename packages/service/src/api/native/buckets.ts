import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Bucket, Buckets } from '../../domain/buckets.ts';
import type { Idempotency } from '../../jobs/idempotency.ts';
import { type CopyRouteParts, copyRoutes } from './copies.ts';
import { errorBody } from './errors.ts';
import { idempotently } from './idempotency.ts';
import { listingQuery, pageBody } from './listing.ts';
import { type ObjectRouteParts, objectRoutes } from './objects.ts';
import { type ParRouteParts, parRoutes } from './pars.ts';
import { type UploadRouteParts, uploadRoutes } from './uploads.ts';

const bucketBody = z.object({
  name: z.string(),
  compartmentId: z.string(),
  createdAtMs: z.number().int(),
});
const bucketParameters = z.object({ bucket: z.string() });

export interface BucketRouteParts extends ObjectRouteParts, UploadRouteParts, CopyRouteParts, ParRouteParts {
  readonly buckets: Buckets;
  readonly idempotency: Idempotency;
}

/** Buckets, with their objects and uploads. */
export function bucketRoutes(parts: BucketRouteParts): FastifyPluginAsyncZod {
  const { buckets, idempotency } = parts;
  return async (app) => {
    app.get(
      '/buckets',
      {
        schema: {
          summary: 'List buckets by name',
          tags: ['buckets'],
          querystring: listingQuery.extend({
            compartmentId: z.string().optional().describe('Only buckets of this compartment'),
          }),
          response: { 200: pageBody(bucketBody), default: errorBody },
        },
      },
      async ({ query, principal }) => {
        const page = await buckets.list({ ...query, principal });
        return { items: page.items.map(toBucketBody), nextStartAfter: page.next ?? null };
      },
    );
    app.post(
      '/buckets',
      {
        schema: {
          summary: 'Create a bucket',
          tags: ['buckets'],
          body: z.object({
            name: z.string().describe('3 to 63 small letters, digits, hyphens and dots'),
            compartmentId: z.string().optional().describe("By default the tenancy's root"),
          }),
          response: { 201: bucketBody, default: errorBody },
        },
      },
      (request, reply) =>
        idempotently(idempotency, request, reply, async () => {
          const bucket = await buckets.create(request.principal, request.body);
          return { statusCode: 201, body: toBucketBody(bucket) };
        }),
    );
    app.get(
      '/buckets/:bucket',
      {
        schema: {
          summary: 'Show a bucket',
          tags: ['buckets'],
          params: bucketParameters,
          response: { 200: bucketBody, default: errorBody },
        },
      },
      async ({ params, principal }) => toBucketBody(await buckets.get(principal, params.bucket)),
    );
    app.delete(
      '/buckets/:bucket',
      {
        schema: {
          summary: 'Delete a bucket without objects and unfinished uploads',
          tags: ['buckets'],
          params: bucketParameters,
          response: { 204: z.null(), default: errorBody },
        },
      },
      async ({ params, principal }, reply) => {
        await buckets.delete(principal, params.bucket);
        await reply.status(204).send(null);
      },
    );
    await app.register(copyRoutes(parts));
    await app.register(parRoutes(parts));
    await app.register(objectRoutes(parts));
    await app.register(uploadRoutes(parts));
  };
}

function toBucketBody(bucket: Bucket): z.infer<typeof bucketBody> {
  return bucketBody.parse(bucket);
}
