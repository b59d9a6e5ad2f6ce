import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { parAccessTypes } from '../../domain/par-access.ts';
import type { PreAuthenticatedRequest, PreAuthenticatedRequests } from '../../domain/pars.ts';
import { errorBody } from './errors.ts';
import { listingQuery, pageBody } from './listing.ts';

const parBody = z.object({
  id: z.string(),
  name: z.string(),
  accessType: z.enum(parAccessTypes),
  key: z.string().nullable().describe('The object, or of Any… the prefix of keys; null for the whole bucket'),
  allowsListing: z.boolean(),
  expiresAtMs: z.number().int(),
  createdAtMs: z.number().int(),
});
const madeParBody = parBody.extend({
  url: z.string().describe('Shown here and never again; of Any… with the key to be added'),
});
const bucketParameters = z.object({ bucket: z.string() });
const parParameters = bucketParameters.extend({ parId: z.string() });

export interface ParRouteParts {
  readonly pars: PreAuthenticatedRequests;
}

/** Pre-authenticated requests: URLs that carry their own permission. The OCI dialect answers them. */
export function parRoutes({ pars }: ParRouteParts): FastifyPluginAsyncZod {
  return async (app) => {
    app.post(
      '/buckets/:bucket/pre-authenticated-requests',
      {
        schema: {
          summary: 'Make a URL that carries its own permission, until it expires or is deleted',
          tags: ['sharing'],
          params: bucketParameters,
          body: z.object({
            name: z.string(),
            accessType: z.enum(parAccessTypes),
            key: z.string().optional(),
            allowsListing: z.boolean().default(false),
            expiresAtMs: z.number().int(),
          }),
          response: { 201: madeParBody, default: errorBody },
        },
      },
      async (request, reply) => {
        const { principal, params, body, protocol, host } = request;
        const { key: objectKey, ...wanted } = body;
        const { par, path } = await pars.create(principal, params.bucket, { ...wanted, objectKey });
        reply.status(201);
        return { ...toParBody(par), url: `${protocol}://${host}/oci${path}` };
      },
    );
    app.get(
      '/buckets/:bucket/pre-authenticated-requests',
      {
        schema: {
          summary: "List a bucket's pre-authenticated requests, oldest first, without their URLs",
          tags: ['sharing'],
          params: bucketParameters,
          querystring: listingQuery.extend({
            prefix: z.string().optional().describe('Only for keys that begin so'),
          }),
          response: { 200: pageBody(parBody), default: errorBody },
        },
      },
      async ({ params, query, principal }) => {
        const { prefix: keyPrefix, ...listing } = query;
        const page = await pars.list(principal, params.bucket, { ...listing, keyPrefix });
        return { items: page.items.map(toParBody), nextStartAfter: page.next ?? null };
      },
    );
    app.get(
      '/buckets/:bucket/pre-authenticated-requests/:parId',
      {
        schema: {
          summary: 'Show a pre-authenticated request, without its URL',
          tags: ['sharing'],
          params: parParameters,
          response: { 200: parBody, default: errorBody },
        },
      },
      async ({ params, principal }) => toParBody(await pars.get(principal, params.bucket, params.parId)),
    );
    app.delete(
      '/buckets/:bucket/pre-authenticated-requests/:parId',
      {
        schema: {
          summary: 'Delete a pre-authenticated request; its URL is good for nothing from then on',
          tags: ['sharing'],
          params: parParameters,
          response: { 204: z.null(), default: errorBody },
        },
      },
      async ({ params, principal }, reply) => {
        await pars.delete(principal, params.bucket, params.parId);
        await reply.status(204).send(null);
      },
    );
  };
}

function toParBody({ objectKey, ...par }: PreAuthenticatedRequest): z.infer<typeof parBody> {
  return parBody.parse({ ...par, key: objectKey ?? null });
}
