import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Tenancies } from '../../../domain/tenancies.ts';
import { OciError } from '../errors.ts';
import { compartmentId, compartmentOcid } from '../ocid.ts';
import { requireNamespace } from './names.ts';

const namespaceParameters = z.object({ namespace: z.string() });

/** The namespace: a tenancy's name in paths. S3 and Swift make buckets in the root compartment, and nowhere else. */
export function namespaceRoutes(tenancies: Tenancies): FastifyPluginAsyncZod {
  return async (app) => {
    app.get(
      '/n',
      { schema: { querystring: z.object({ compartmentId: z.string().optional() }) } },
      async (request, reply) => {
        const { compartmentId: ocid } = request.query;
        if (ocid !== undefined) compartmentId(ocid);
        const { namespace } = await tenancies.get(request.principal);
        await reply.type('application/json').send(JSON.stringify(namespace));
      },
    );
    app.get('/n/:namespace', { schema: { params: namespaceParameters } }, async (request) => {
      const principal = await requireNamespace(tenancies, request, request.params.namespace);
      return metadataOf(request.params.namespace, principal.tenancyId);
    });
    app.put(
      '/n/:namespace',
      {
        schema: {
          params: namespaceParameters,
          body: z.object({
            defaultS3CompartmentId: z.string().nullish(),
            defaultSwiftCompartmentId: z.string().nullish(),
          }),
        },
      },
      async (request) => {
        const { namespace } = request.params;
        const { tenancyId, role } = await requireNamespace(tenancies, request, namespace);
        if (role !== 'administrator') {
          throw new OciError(404, 'NotAuthorizedOrNotFound', `namespace ${namespace} is not yours to change`);
        }
        for (const ocid of Object.values(request.body)) {
          if (ocid === undefined || ocid === null || compartmentId(ocid) === tenancyId) continue;
          throw new OciError(
            400,
            'InvalidParameter',
            'buckets of S3 and Swift are made in the root compartment: no other can be the default',
          );
        }
        return metadataOf(namespace, tenancyId);
      },
    );
  };
}

function metadataOf(namespace: string, tenancyId: string): Record<string, string> {
  const root = compartmentOcid(tenancyId);
  return { namespace, defaultS3CompartmentId: root, defaultSwiftCompartmentId: root };
}
