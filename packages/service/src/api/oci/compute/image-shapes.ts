import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { ImageShape } from '../../../domain/image-shapes.ts';
import { idInPath } from '../ocid.ts';
import { answerPage, cursorOf, pageQuery } from '../pages.ts';
import type { OciComputeParts } from './compute.ts';

const parameters = z.object({ image: z.string() });
const entryParameters = parameters.extend({ shape: z.string() });
const count = z.number().min(0).optional();
const entryBody = z.object({
  ocpuConstraints: z.object({ min: count, max: count }).nullish(),
  memoryConstraints: z.object({ minInGBs: count, maxInGBs: count }).nullish(),
});

/** Shape compatibility entries of images. */
export function imageShapeRoutes({ imageShapes }: OciComputeParts): FastifyPluginAsyncZod {
  return async (app) => {
    app.get(
      '/20160918/images/:image/shapes',
      { schema: { params: parameters, querystring: pageQuery } },
      async ({ params, principal, query }, reply) => {
        const listing = { startAfter: cursorOf(query.page), limit: query.limit };
        const page = await imageShapes.list(principal, idInPath(['image'], params.image), listing);
        return answerPage(reply, page).map((entry) => toEntry(params.image, entry));
      },
    );
    app.get(
      '/20160918/images/:image/shapes/:shape',
      { schema: { params: entryParameters } },
      async ({ params, principal }) => {
        const { image, shape } = params;
        return toEntry(image, await imageShapes.get(principal, idInPath(['image'], image), shape));
      },
    );
    app.put(
      '/20160918/images/:image/shapes/:shape',
      { schema: { params: entryParameters, body: entryBody } },
      async ({ params, principal, body }) => {
        const { image, shape } = params;
        const entry: ImageShape = {
          shape,
          ocpuConstraints: body.ocpuConstraints ?? undefined,
          memoryConstraints: body.memoryConstraints ?? undefined,
        };
        await imageShapes.put(principal, idInPath(['image'], image), entry);
        return toEntry(image, entry);
      },
    );
    app.delete(
      '/20160918/images/:image/shapes/:shape',
      { schema: { params: entryParameters } },
      async ({ params, principal }, reply) => {
        await imageShapes.delete(principal, idInPath(['image'], params.image), params.shape);
        await reply.status(204).send();
      },
    );
  };
}

function toEntry(imageId: string, { shape, ocpuConstraints, memoryConstraints }: ImageShape) {
  return { imageId, shape, ocpuConstraints, memoryConstraints };
}
