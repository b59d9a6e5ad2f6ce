import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Objects } from '../../domain/objects.ts';
import type { ObjectPlace, StoredObject } from '../../domain/stored-object.ts';
import { writeCondition } from '../http/conditions.ts';
import { bodyHeaders, requestBody, takeBodiesAsStreams } from '../http/request-body.ts';
import { sendObject } from '../http/send-object.ts';
import { sentSource, streamedBody } from './bodies.ts';
import { errorBody } from './errors.ts';
import { listingQuery, pageBody } from './listing.ts';
import type { Principal } from './principal.ts';

export const objectBody = z.object({
  key: z.string(),
  lengthBytes: z.number().int(),
  etag: z.string().describe('Without quotes'),
  contentType: z.string(),
  createdAtMs: z.number().int().describe('When it was written last'),
  view: z
    .object({
      format: z.string(),
      options: z.record(z.string(), z.string()),
      compression: z.enum(['zlib', 'zstd']).nullable(),
    })
    .nullable()
    .describe('The form of an image that it shows; null for stored bytes'),
});
const bucketParameters = z.object({ bucket: z.string() });
const objectParameters = z.object({
  bucket: z.string(),
  '*': z.string().describe("The object's key, percent-encoded; slashes may stand as they are"),
});

export interface ObjectRouteParts {
  readonly objects: Objects;
}

/** Objects: list, put, get, delete. */
export function objectRoutes({ objects }: ObjectRouteParts): FastifyPluginAsyncZod {
  return async (app) => {
    takeBodiesAsStreams(app);
    app.get(
      '/buckets/:bucket/objects',
      {
        schema: {
          summary: "List a bucket's objects in the order of their keys' UTF-8 bytes",
          tags: ['objects'],
          params: bucketParameters,
          querystring: listingQuery.extend({
            prefix: z.string().optional().describe('Only keys that begin so'),
          }),
          response: { 200: pageBody(objectBody), default: errorBody },
        },
      },
      async ({ params, query, principal }) => {
        const page = await objects.list({ principal, ...params }, query);
        return { items: page.items.map(toObjectBody), nextStartAfter: page.next ?? null };
      },
    );
    app.route({
      method: ['GET', 'HEAD'],
      url: '/buckets/:bucket/objects/*',
      exposeHeadRoute: false,
      schema: {
        summary: 'The bytes of an object, whole or one range, with conditions',
        tags: ['objects'],
        params: objectParameters,
        response: sentSource,
      },
      async handler(request, reply) {
        return sendObject(request, reply, objects, placeOf(request.principal, request.params));
      },
    });
    app.put(
      '/buckets/:bucket/objects/*',
      {
        bodyLimit: Number.MAX_SAFE_INTEGER,
        schema: {
          summary: 'Store the body as an object, seen when it is whole; If-Match and If-None-Match hold',
          tags: ['objects'],
          consumes: ['application/octet-stream'],
          params: objectParameters,
          body: streamedBody,
          response: {
            200: objectBody.describe('It replaced another'),
            201: objectBody,
            default: errorBody,
          },
        },
      },
      async (request, reply) => {
        const { object, isNew } = await objects.put(
          placeOf(request.principal, request.params),
          requestBody(request),
          {
            ...bodyHeaders(request),
            md5Etag: true,
            contentType: request.headers['content-type'],
            condition: writeCondition(request.headers),
          },
        );
        reply.status(isNew ? 201 : 200).header('etag', `"${object.etag}"`);
        return toObjectBody(object);
      },
    );
    app.delete(
      '/buckets/:bucket/objects/*',
      {
        schema: {
          summary: 'Delete an object; who is reading it gets it whole',
          tags: ['objects'],
          params: objectParameters,
          response: { 204: z.null(), default: errorBody },
        },
      },
      async (request, reply) => {
        await objects.delete(placeOf(request.principal, request.params), writeCondition(request.headers));
        await reply.status(204).send(null);
      },
    );
  };
}

function placeOf(principal: Principal, params: z.infer<typeof objectParameters>): ObjectPlace {
  return { principal, bucket: params.bucket, key: params['*'] };
}

export function toObjectBody(object: StoredObject): z.infer<typeof objectBody> {
  const spec = object.view?.spec;
  const view = spec === undefined ? null : { ...spec, compression: spec.compression ?? null };
  return objectBody.parse({ ...object, view });
}
