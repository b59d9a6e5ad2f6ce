import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Shape } from '../../../domain/shapes.ts';
import { compartmentId, idInPath } from '../ocid.ts';
import { answerPage, cursorOf, pageQuery } from '../pages.ts';
import type { OciComputeParts } from './compute.ts';

const query = pageQuery.extend({
  compartmentId: z.string(),
  availabilityDomain: z.string().optional(),
  imageId: z.string().optional(),
  shape: z.string().optional(),
});

/** The shapes that instances may have here. */
export function shapeRoutes({ shapes, imageShapes }: OciComputeParts): FastifyPluginAsyncZod {
  return async (app) => {
    app.get('/20160918/shapes', { schema: { querystring: query } }, async (request, reply) => {
      const { compartmentId: ocid, imageId, shape, page, limit } = request.query;
      compartmentId(ocid);
      const fitting = imageId === undefined ? undefined : await namedBy(request.principal, imageId);
      const found = shapes.filter(
        ({ name }) => (shape ?? name) === name && (fitting === undefined || fitting.has(name)),
      );
      const from = Number(cursorOf(page) ?? 0);
      const next = from + limit < found.length ? String(from + limit) : undefined;
      return answerPage(reply, { items: found.slice(from, from + limit), next }).map(toOciShape);
    });
  };

  /** The shapes that an image names; undefined when it names none and goes with all. */
  async function namedBy(
    principal: Parameters<typeof imageShapes.list>[0],
    imageOcid: string,
  ): Promise<ReadonlySet<string> | undefined> {
    const { items } = await imageShapes.list(principal, idInPath(['image'], imageOcid), { limit: 1000 });
    return items.length === 0 ? undefined : new Set(items.map(({ shape }) => shape));
  }
}

function toOciShape({ name, architecture, ocpus, memoryInGBs, flexible }: Shape) {
  return {
    shape: name,
    processorDescription: architecture === 'aarch64' ? 'Arm processor' : 'x86-64 processor',
    ocpus,
    memoryInGBs,
    isFlexible: flexible !== undefined,
    billingType: 'LIMITED_FREE',
    networkPorts: 1,
    maxVnicAttachments: 1,
    gpus: 0,
    localDisks: 0,
    ...(flexible !== undefined && {
      ocpuOptions: { min: 1, max: flexible.ocpusMax },
      memoryOptions: {
        minInGBs: 1,
        maxInGBs: flexible.memoryMaxInGBs,
        defaultPerOcpuInGBs: memoryInGBs / ocpus,
        minPerOcpuInGBs: 1,
        maxPerOcpuInGBs: flexible.memoryPerOcpuMaxInGBs,
      },
    }),
  };
}
