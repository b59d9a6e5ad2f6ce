import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { availabilityDomainOf, type Region } from '../../domain/region.ts';
import type { Volumes } from '../../domain/volumes.ts';
import type { Idempotency } from '../../jobs/idempotency.ts';
import { errorBody } from './errors.ts';
import { idempotently } from './idempotency.ts';
import { toVolumeBody, volumeBody } from './instance-schema.ts';
import { listingQuery, pageBody } from './listing.ts';
import { definedTags, freeformTags, resourceName, sentTags } from './resource-fields.ts';

const parameters = z.object({ volumeId: z.string() });
const createBody = z.object({
  name: resourceName.optional(),
  sizeBytes: z.number().int().min(1).optional().describe("By default the image's; an empty one needs it"),
  imageId: z.string().optional().describe('What it holds from its begin'),
  compartmentId: z.string().optional().describe("By default the tenancy's root"),
  freeformTags,
  definedTags,
});

export interface VolumeRouteParts {
  readonly volumes: Volumes;
  readonly region: Region;
  readonly idempotency: Idempotency;
}

/** Volumes: list, show, make, delete. */
export function volumeRoutes({ volumes, region, idempotency }: VolumeRouteParts): FastifyPluginAsyncZod {
  return async (app) => {
    app.get(
      '/volumes',
      {
        schema: {
          summary: 'List volumes, newest first; deleted ones for a day',
          tags: ['volumes'],
          querystring: listingQuery.extend({ kind: z.enum(['boot', 'block']).optional() }),
          response: { 200: pageBody(volumeBody), default: errorBody },
        },
      },
      async ({ query, principal }) => {
        const page = await volumes.list(principal, query);
        const holders = await volumes.holders(page.items.map(({ id }) => id));
        const items = page.items.map((volume) => toVolumeBody(volume, holders.get(volume.id)));
        return { items, nextStartAfter: page.next ?? null };
      },
    );
    app.post(
      '/volumes',
      {
        schema: {
          summary: 'Make a volume: empty, or as an image is',
          tags: ['volumes'],
          body: createBody,
          response: { 201: volumeBody, default: errorBody },
        },
      },
      (request, reply) =>
        idempotently(idempotency, request, reply, async () => {
          const { principal, body } = request;
          const volume = await volumes.create(principal, {
            compartmentId: body.compartmentId ?? principal.tenancyId,
            availabilityDomain: availabilityDomainOf(region),
            name: body.name,
            sizeBytes: body.sizeBytes,
            imageId: body.imageId,
            tags: sentTags(body),
          });
          return { statusCode: 201, body: toVolumeBody(volume, undefined) };
        }),
    );
    app.get(
      '/volumes/:volumeId',
      {
        schema: {
          summary: 'Show a volume',
          tags: ['volumes'],
          params: parameters,
          response: { 200: volumeBody, default: errorBody },
        },
      },
      async ({ params, principal }) => {
        const volume = await volumes.get(principal, params.volumeId);
        return toVolumeBody(volume, (await volumes.holders([volume.id])).get(volume.id));
      },
    );
    app.delete(
      '/volumes/:volumeId',
      {
        schema: {
          summary: 'Delete a volume that no instance has',
          tags: ['volumes'],
          params: parameters,
          response: { 204: z.null(), default: errorBody },
        },
      },
      async ({ params, principal }, reply) => {
        await volumes.delete(principal, params.volumeId);
        await reply.status(204).send(null);
      },
    );
  };
}
