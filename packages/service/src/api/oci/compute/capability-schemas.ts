import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { type CapabilitySchema, mergedData } from '../../../domain/capability-schemas.ts';
import { DomainError } from '../../../domain/errors.ts';
import { capabilityDescriptor, globalCapabilities } from '../../../domain/global-capabilities.ts';
import { toJsonValue } from '../../../json.ts';
import { ifMatch } from '../if-match.ts';
import { compartmentId, compartmentOcid, idInPath, toOcid } from '../ocid.ts';
import { answerPage, cursorOf, pageQuery } from '../pages.ts';
import { retryOnce } from '../retry.ts';
import { sentTags, tagBody, tagFields } from '../tags.ts';
import { displayName, listQuery, ordering, time } from './common.ts';
import type { OciComputeParts } from './compute.ts';
import { definedOnly } from './images.ts';

const GLOBAL = '/20160918/computeGlobalImageCapabilitySchemas';
const OF_IMAGES = '/20160918/computeImageCapabilitySchemas';
const parameters = z.object({ schema: z.string() });
const schemaData = z.record(z.string(), capabilityDescriptor);
const { id: globalId, versionName, displayName: globalName, createdAtMs, data } = globalCapabilities;

/** Capability schemas: the global one, which is data, and those of images. */
export function capabilitySchemaRoutes(parts: OciComputeParts): FastifyPluginAsyncZod {
  const { capabilitySchemas, idempotency, region } = parts;
  return async (app) => {
    await app.register(globalRoutes);
    app.get(
      OF_IMAGES,
      {
        schema: {
          querystring: listQuery.extend({
            compartmentId: z.string().optional(),
            imageId: z.string().optional(),
          }),
        },
      },
      async ({ query, principal }, reply) => {
        const { imageId, displayName: name, limit, page } = query;
        const found = await capabilitySchemas.list(principal, {
          compartmentId: query.compartmentId === undefined ? undefined : compartmentId(query.compartmentId),
          imageId: imageId === undefined ? undefined : idInPath(['image'], imageId),
          name,
          order: ordering(query).order,
          startAfter: cursorOf(page),
          limit,
        });
        return answerPage(reply, found).map((schema) => toOciSchema(schema, region.name));
      },
    );
    app.post(
      OF_IMAGES,
      {
        schema: {
          body: z.object({
            compartmentId: z.string(),
            imageId: z.string(),
            computeGlobalImageCapabilitySchemaVersionName: z.string(),
            displayName: displayName.nullish(),
            schemaData,
            ...tagFields,
          }),
        },
      },
      (request, reply) =>
        retryOnce(idempotency, request, reply, 'CreateComputeImageCapabilitySchema', async () => {
          const { body, principal } = request;
          const schema = await capabilitySchemas.create(principal, {
            compartmentId: compartmentId(body.compartmentId),
            imageId: idInPath(['image'], body.imageId),
            globalVersionName: body.computeGlobalImageCapabilitySchemaVersionName,
            name: body.displayName ?? undefined,
            data: body.schemaData,
            tags: definedOnly(sentTags(body)),
          });
          return {
            statusCode: 200,
            body: toJsonValue(toOciSchema(schema, region.name)),
            headers: { etag: schema.etag },
          };
        }),
    );
    app.get(
      `${OF_IMAGES}/:schema`,
      {
        schema: {
          params: parameters,
          querystring: z.object({ isMergeEnabled: z.stringbool().default(false) }),
        },
      },
      async ({ params, principal, query }, reply) => {
        const schema = await capabilitySchemas.get(principal, schemaId(params));
        reply.header('etag', schema.etag);
        const shown = query.isMergeEnabled ? { ...schema, data: mergedData(schema.data) } : schema;
        return toOciSchema(shown, region.name);
      },
    );
    app.put(
      `${OF_IMAGES}/:schema`,
      {
        schema: {
          params: parameters,
          body: z.object({
            displayName: displayName.nullish(),
            schemaData: schemaData.nullish(),
            ...tagFields,
          }),
        },
      },
      async (request, reply) => {
        const { params, principal, body } = request;
        const changes = {
          name: body.displayName ?? undefined,
          data: body.schemaData ?? undefined,
          tags: definedOnly(sentTags(body)),
        };
        const schema = await capabilitySchemas.update(principal, schemaId(params), changes, ifMatch(request));
        reply.header('etag', schema.etag);
        return toOciSchema(schema, region.name);
      },
    );
    app.delete(`${OF_IMAGES}/:schema`, { schema: { params: parameters } }, async (request, reply) => {
      await capabilitySchemas.delete(request.principal, schemaId(request.params), ifMatch(request));
      await reply.status(204).send();
    });
  };
}

const globalRoutes: FastifyPluginAsyncZod = async (app) => {
  const summary = {
    id: globalId,
    displayName: globalName,
    currentVersionName: versionName,
    timeCreated: time(createdAtMs),
    freeformTags: {},
    definedTags: {},
  };
  const versionSummary = {
    name: versionName,
    computeGlobalImageCapabilitySchemaId: globalId,
    displayName: versionName,
    timeCreated: time(createdAtMs),
  };
  app.get(
    GLOBAL,
    { schema: { querystring: pageQuery.extend({ displayName: z.string().optional() }) } },
    async ({ query }) => ((query.displayName ?? globalName) === globalName ? [summary] : []),
  );
  app.get(`${GLOBAL}/:schema`, { schema: { params: parameters } }, async ({ params }, reply) => {
    requireGlobal(params.schema);
    reply.header('etag', 'v1');
    return summary;
  });
  app.get(`${GLOBAL}/:schema/versions`, { schema: { params: parameters } }, async ({ params }) => {
    requireGlobal(params.schema);
    return [versionSummary];
  });
  app.get(
    `${GLOBAL}/:schema/versions/:version`,
    { schema: { params: parameters.extend({ version: z.string() }) } },
    async ({ params }, reply) => {
      requireGlobal(params.schema, params.version);
      reply.header('etag', 'v1');
      return { ...versionSummary, schemaData: data };
    },
  );
};

function requireGlobal(schema: string, version: string = versionName): void {
  if (schema === globalId && version === versionName) return;
  throw new DomainError(
    'NOT_FOUND',
    `there is no global capability schema ${schema}, or not version ${version}`,
  );
}

function schemaId({ schema }: z.infer<typeof parameters>): string {
  return idInPath(['computeimagecapabilityschema'], schema);
}

function toOciSchema(schema: CapabilitySchema, region: string) {
  return {
    id: toOcid('computeimagecapabilityschema', region, schema.id),
    compartmentId: compartmentOcid(schema.compartmentId),
    imageId: toOcid('image', region, schema.imageId),
    displayName: schema.name,
    lifecycleState: 'ACTIVE',
    computeGlobalImageCapabilitySchemaId: globalId,
    computeGlobalImageCapabilitySchemaVersionName: schema.globalVersionName,
    schemaData: schema.data,
    timeCreated: time(schema.createdAtMs),
    ...tagBody(schema.tags),
  };
}
