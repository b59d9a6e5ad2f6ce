import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Compartment, Compartments } from '../../domain/compartments.ts';
import { etagOfVersion } from '../../domain/versions.ts';
import { writeCondition } from '../http/conditions.ts';
import { compartmentOcid } from '../oci/ocid.ts';
import { errorBody } from './errors.ts';

const compartmentBody = z.object({
  id: z.string(),
  parentId: z.string().nullable().describe('Null for the root, whose id is that of the tenancy'),
  name: z.string(),
  description: z.string(),
  ocid: z.string().describe('What the clients of OCI call it'),
  createdAtMs: z.number().int(),
});
const parameters = z.object({ compartment: z.string() });

/** The tenancy's tree of compartments. */
export function compartmentRoutes(compartments: Compartments): FastifyPluginAsyncZod {
  return async (app) => {
    app.get(
      '/compartments',
      {
        schema: {
          summary: 'List the root compartment and all below it that one may see',
          tags: ['identity'],
          response: { 200: z.object({ items: z.array(compartmentBody) }), default: errorBody },
        },
      },
      async ({ principal }) => {
        const root = await compartments.get(principal, principal.tenancyId);
        const below = await compartments.list(principal, { below: root.id, inSubtree: true });
        return { items: [root, ...below].map(toCompartmentBody) };
      },
    );
    app.post(
      '/compartments',
      {
        schema: {
          summary: 'Create a compartment',
          tags: ['identity'],
          body: z.object({
            name: z.string().describe('1 to 100 letters, digits, dots, hyphens and underscores'),
            description: z.string().default(''),
            parentId: z.string().optional().describe('By default the root'),
          }),
          response: { 201: compartmentBody, default: errorBody },
        },
      },
      async ({ body, principal }, reply) => {
        const { parentId = principal.tenancyId, ...compartment } = body;
        const made = await compartments.create(principal, parentId, compartment);
        reply.status(201).header('etag', `"${etagOfVersion(made.version)}"`);
        return toCompartmentBody(made);
      },
    );
    app.get(
      '/compartments/:compartment',
      {
        schema: {
          summary: 'Show a compartment',
          tags: ['identity'],
          params: parameters,
          response: { 200: compartmentBody, default: errorBody },
        },
      },
      async ({ params, principal }, reply) => {
        const found = await compartments.get(principal, params.compartment);
        reply.header('etag', `"${etagOfVersion(found.version)}"`);
        return toCompartmentBody(found);
      },
    );
    app.delete(
      '/compartments/:compartment',
      {
        schema: {
          summary: 'Delete a compartment that holds nothing',
          tags: ['identity'],
          params: parameters,
          response: { 204: z.null(), default: errorBody },
        },
      },
      async ({ params, headers, principal }, reply) => {
        await compartments.delete(principal, params.compartment, writeCondition(headers).ifMatch);
        await reply.status(204).send(null);
      },
    );
  };
}

function toCompartmentBody(compartment: Compartment): z.infer<typeof compartmentBody> {
  const { id, name, description, createdAtMs } = compartment;
  const parentId = compartment.parentId ?? null;
  return { id, parentId, name, description, ocid: compartmentOcid(id), createdAtMs };
}
