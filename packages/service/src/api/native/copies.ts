import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Copies } from '../../domain/copies.ts';
import type { Objects } from '../../domain/objects.ts';
import type { Idempotency } from '../../jobs/idempotency.ts';
import { errorBody } from './errors.ts';
import { idempotently } from './idempotency.ts';
import { startedJobBody, toJobBody } from './job-schema.ts';
import { objectBody, toObjectBody } from './objects.ts';

const bucketParameters = z.object({ bucket: z.string() });

export interface CopyRouteParts {
  readonly copies: Copies;
  readonly objects: Objects;
  readonly idempotency: Idempotency;
}

/** Objects under other names: copies, here and in other regions, and renames. */
export function copyRoutes({ copies, objects, idempotency }: CopyRouteParts): FastifyPluginAsyncZod {
  return async (app) => {
    app.post(
      '/buckets/:bucket/copies',
      {
        schema: {
          summary: 'Start to copy an object, within this region or to another one',
          tags: ['objects'],
          params: bucketParameters,
          body: z.object({
            key: z.string(),
            target: z.object({
              region: z.string().optional().describe('By default this one'),
              bucket: z.string(),
              key: z.string(),
              ifAbsent: z.boolean().default(false).describe('Only when there is no such object'),
            }),
          }),
          response: { 202: startedJobBody, default: errorBody },
        },
      },
      (request, reply) =>
        idempotently(idempotency, request, reply, async () => {
          const { key, target } = request.body;
          const { ifAbsent, ...place } = target;
          const job = await copies.start(request.principal, {
            source: { bucket: request.params.bucket, key },
            target: { ...place, ifNoneMatch: ifAbsent ? '*' : undefined },
          });
          return { statusCode: 202, body: { job: toJobBody(job) } };
        }),
    );
    app.post(
      '/buckets/:bucket/renames',
      {
        schema: {
          summary: 'Give an object another key at once; its bytes and its ETag stay',
          tags: ['objects'],
          params: bucketParameters,
          body: z.object({
            key: z.string(),
            newKey: z.string(),
            ifAbsent: z.boolean().default(false).describe('Only when no object has the new key'),
          }),
          response: { 200: objectBody, default: errorBody },
        },
      },
      (request, reply) =>
        idempotently(idempotency, request, reply, async () => {
          const { key, newKey, ifAbsent } = request.body;
          const place = { principal: request.principal, bucket: request.params.bucket, key };
          const target = { ifNoneMatch: ifAbsent ? ('*' as const) : undefined };
          return { statusCode: 200, body: toObjectBody(await objects.rename(place, newKey, { target })) };
        }),
    );
  };
}
