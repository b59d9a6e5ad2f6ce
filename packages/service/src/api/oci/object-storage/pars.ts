import type { FastifyRequest } from 'fastify';
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { parAccessTypes } from '../../../domain/par-access.ts';
import type { PreAuthenticatedRequest, PreAuthenticatedRequests } from '../../../domain/pars.ts';
import type { Tenancies } from '../../../domain/tenancies.ts';
import { sentTarget } from '../../front.ts';
import { answerPage, cursorOf, pageQuery } from '../pages.ts';
import { bucketOfPath } from './names.ts';

const bucketParameters = z.object({ namespace: z.string(), bucket: z.string() });
const parParameters = bucketParameters.extend({ parId: z.string() });

export interface OciParParts {
  readonly tenancies: Tenancies;
  readonly pars: PreAuthenticatedRequests;
}

/** Pre-authenticated requests: create, list, show, delete. What their URLs are good for is answered in ../pars.ts. */
export function parRoutes({ tenancies, pars }: OciParParts): FastifyPluginAsyncZod {
  return async (app) => {
    app.post(
      '/n/:namespace/b/:bucket/p',
      {
        schema: {
          params: bucketParameters,
          body: z.object({
            name: z.string(),
            accessType: z.enum(parAccessTypes),
            objectName: z.string().nullish(),
            bucketListingAction: z.enum(['Deny', 'ListObjects']).nullish(),
            timeExpires: z.iso.datetime({ offset: true }),
          }),
        },
      },
      async (request) => {
        const { principal, bucket } = await bucketOfPath(tenancies, request);
        const { name, accessType, objectName, bucketListingAction, timeExpires } = request.body;
        const { par, path } = await pars.create(principal, bucket, {
          name,
          accessType,
          objectKey: objectName ?? undefined,
          allowsListing: bucketListingAction === 'ListObjects',
          expiresAtMs: Date.parse(timeExpires),
        });
        return { ...summaryBody(par), accessUri: path, fullPath: `${endpointOf(request)}${path}` };
      },
    );
    app.get(
      '/n/:namespace/b/:bucket/p',
      {
        schema: {
          params: bucketParameters,
          querystring: pageQuery.extend({ objectNamePrefix: z.string().optional() }),
        },
      },
      async (request, reply) => {
        const { principal, bucket } = await bucketOfPath(tenancies, request);
        const { objectNamePrefix: keyPrefix, limit, page } = request.query;
        const listed = await pars.list(principal, bucket, { keyPrefix, limit, startAfter: cursorOf(page) });
        return answerPage(reply, listed).map(summaryBody);
      },
    );
    app.get('/n/:namespace/b/:bucket/p/:parId', { schema: { params: parParameters } }, async (request) => {
      const { principal, bucket } = await bucketOfPath(tenancies, request);
      return summaryBody(await pars.get(principal, bucket, request.params.parId));
    });
    app.delete(
      '/n/:namespace/b/:bucket/p/:parId',
      { schema: { params: parParameters } },
      async (request, reply) => {
        const { principal, bucket } = await bucketOfPath(tenancies, request);
        await pars.delete(principal, bucket, request.params.parId);
        await reply.status(204).send();
      },
    );
  };
}

/** Where this request was sent to, up to the paths of object storage: what stands before them was cut off. */
function endpointOf(request: FastifyRequest): string {
  const target = sentTarget(request.raw);
  const prefix = target.slice(0, target.length - request.url.length);
  return `${request.protocol}://${request.host}${prefix}`;
}

function summaryBody(par: PreAuthenticatedRequest): object {
  return {
    id: par.id,
    name: par.name,
    objectName: par.objectKey ?? null,
    accessType: par.accessType,
    bucketListingAction: par.allowsListing ? 'ListObjects' : 'Deny',
    timeExpires: new Date(par.expiresAtMs).toISOString(),
    timeCreated: new Date(par.createdAtMs).toISOString(),
  };
}
