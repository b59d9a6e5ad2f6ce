import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { LARGEST_PART_NUMBER } from '../../domain/object-limits.ts';
import type { Upload, UploadPlace, Uploads } from '../../domain/uploads.ts';
import type { Idempotency } from '../../jobs/idempotency.ts';
import { writeCondition } from '../http/conditions.ts';
import { bodyHeaders, requestBody, takeBodiesAsStreams } from '../http/request-body.ts';
import { streamedBody } from './bodies.ts';
import { errorBody } from './errors.ts';
import { idempotently } from './idempotency.ts';
import { listingQuery, pageBody } from './listing.ts';
import { objectBody, toObjectBody } from './objects.ts';
import type { Principal } from './principal.ts';

const partNumber = z.number().int().min(1).max(LARGEST_PART_NUMBER);
const partBody = z.object({
  partNumber,
  lengthBytes: z.number().int(),
  etag: z.string().describe('Without quotes; another one each time that the part is sent'),
});
const uploadBody = z.object({
  id: z.string(),
  key: z.string(),
  contentType: z.string(),
  createdAtMs: z.number().int(),
});
const uploadWithPartsBody = uploadBody.extend({ parts: z.array(partBody) });
const bucketParameters = z.object({ bucket: z.string() });
const uploadParameters = bucketParameters.extend({ uploadId: z.string() });

/** 10,000 parts with their ETags, with room to spare. */
const COMPLETE_BODY_BYTES: number = 4 * 1024 * 1024;

export interface UploadRouteParts {
  readonly uploads: Uploads;
  readonly idempotency: Idempotency;
}

/** Uploads in parts: begin, send parts, see which arrived, complete or abort. */
export function uploadRoutes({ uploads, idempotency }: UploadRouteParts): FastifyPluginAsyncZod {
  return async (app) => {
    app.post(
      '/buckets/:bucket/uploads',
      {
        schema: {
          summary: 'Begin to upload an object in parts',
          tags: ['uploads'],
          params: bucketParameters,
          body: z.object({ key: z.string(), contentType: z.string().optional() }),
          response: { 201: uploadBody, default: errorBody },
        },
      },
      (request, reply) =>
        idempotently(idempotency, request, reply, async () => {
          const { principal, params, body } = request;
          const upload = await uploads.create({ principal, ...params }, body);
          return { statusCode: 201, body: toUploadBody(upload) };
        }),
    );
    app.get(
      '/buckets/:bucket/uploads',
      {
        schema: {
          summary: "List a bucket's unfinished uploads by key, then by age",
          tags: ['uploads'],
          params: bucketParameters,
          querystring: listingQuery.extend({
            prefix: z.string().optional().describe('Only keys that begin so'),
          }),
          response: { 200: pageBody(uploadBody), default: errorBody },
        },
      },
      async ({ params, query, principal }) => {
        const page = await uploads.list({ principal, ...params }, query);
        return { items: page.items.map(toUploadBody), nextStartAfter: page.next ?? null };
      },
    );
    app.get(
      '/buckets/:bucket/uploads/:uploadId',
      {
        schema: {
          summary: 'Show an unfinished upload with the parts that arrived',
          tags: ['uploads'],
          params: uploadParameters,
          response: { 200: uploadWithPartsBody, default: errorBody },
        },
      },
      async (request) =>
        uploadWithPartsBody.parse(await uploads.get(placeOf(request.principal, request.params))),
    );
    app.post(
      '/buckets/:bucket/uploads/:uploadId/complete',
      {
        bodyLimit: COMPLETE_BODY_BYTES,
        schema: {
          summary: 'Make the listed parts, in ascending order, the object; moves no bytes',
          tags: ['uploads'],
          params: uploadParameters,
          body: z.object({
            parts: z
              .array(z.object({ partNumber, etag: z.string().describe('With or without quotes') }))
              .max(LARGEST_PART_NUMBER),
          }),
          response: { 200: objectBody, default: errorBody },
        },
      },
      (request, reply) =>
        idempotently(idempotency, request, reply, async () => {
          const parts = request.body.parts.map((part) => ({
            ...part,
            etag: part.etag.replace(/^"(.*)"$/, '$1'),
          }));
          const condition = writeCondition(request.headers);
          const object = await uploads.complete(placeOf(request.principal, request.params), parts, condition);
          return { statusCode: 200, body: toObjectBody(object) };
        }),
    );
    app.delete(
      '/buckets/:bucket/uploads/:uploadId',
      {
        schema: {
          summary: 'Abort an upload and drop its parts',
          tags: ['uploads'],
          params: uploadParameters,
          response: { 204: z.null(), default: errorBody },
        },
      },
      async (request, reply) => {
        await uploads.abort(placeOf(request.principal, request.params));
        await reply.status(204).send(null);
      },
    );
    await app.register(partRoutes(uploads));
  };
}

function partRoutes(uploads: Uploads): FastifyPluginAsyncZod {
  return async (app) => {
    takeBodiesAsStreams(app);
    app.put(
      '/buckets/:bucket/uploads/:uploadId/parts/:partNumber',
      {
        bodyLimit: Number.MAX_SAFE_INTEGER,
        schema: {
          summary: 'Store the body as a part, over the one of that number',
          tags: ['uploads'],
          consumes: ['application/octet-stream'],
          params: uploadParameters.extend({ partNumber: z.coerce.number().pipe(partNumber) }),
          body: streamedBody,
          response: { 200: partBody, default: errorBody },
        },
      },
      async (request, reply) => {
        const place = placeOf(request.principal, request.params);
        const { partNumber: number } = request.params;
        const options = { ...bodyHeaders(request), md5Etag: true };
        const part = await uploads.putPart(place, number, requestBody(request), options);
        reply.header('etag', `"${part.etag}"`);
        return partBody.parse(part);
      },
    );
  };
}

function placeOf(principal: Principal, params: { bucket: string; uploadId: string }): UploadPlace {
  const { bucket, uploadId } = params;
  return { principal, bucket, uploadId };
}

function toUploadBody(upload: Upload): z.infer<typeof uploadBody> {
  return uploadBody.parse(upload);
}
