import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { TagDefinition, TagNamespace, TagNamespaces } from '../../domain/tag-namespaces.ts';
import { etagOfVersion } from '../../domain/versions.ts';
import type { Idempotency } from '../../jobs/idempotency.ts';
import type { JsonValue } from '../../json.ts';
import { ifMatch } from './if-match.ts';
import { compartmentId, compartmentOcid, idInPath, toOcid } from './ocid.ts';
import { answerPage, cursorOf, pageQuery } from './pages.ts';
import { retryOnce } from './retry.ts';
import { sentTags, tagBody, tagFields } from './tags.ts';

const namespaceParameters = z.object({ namespace: z.string() });
const tagParameters = namespaceParameters.extend({ tag: z.string() });
const validator = z
  .discriminatedUnion('validatorType', [
    z.object({ validatorType: z.literal('DEFAULT') }),
    z.object({ validatorType: z.literal('ENUM'), values: z.array(z.string()) }),
  ])
  .nullish();
const namespaceChanges = {
  description: z.string().nullish(),
  isRetired: z.boolean().nullish(),
  ...tagFields,
};

export interface TagRouteParts {
  readonly tagNamespaces: TagNamespaces;
  readonly idempotency: Idempotency;
}

/** Tag namespaces and tag definitions of OCI's Identity service. */
export function tagRoutes({ tagNamespaces, idempotency }: TagRouteParts): FastifyPluginAsyncZod {
  return async (app) => {
    app.get(
      '/20160918/tagNamespaces',
      {
        schema: {
          querystring: pageQuery.extend({
            compartmentId: z.string(),
            includeSubcompartments: z.stringbool().default(false),
            lifecycleState: z.string().default('ACTIVE'),
          }),
        },
      },
      async ({ query, principal }, reply) => {
        if (query.lifecycleState !== 'ACTIVE') return [];
        const page = await tagNamespaces.list(principal, {
          compartmentId: compartmentId(query.compartmentId),
          inSubtree: query.includeSubcompartments,
          startAfter: cursorOf(query.page),
          limit: query.limit,
        });
        return answerPage(reply, page).map(toOciNamespace);
      },
    );
    app.post(
      '/20160918/tagNamespaces',
      {
        schema: {
          body: z.object({
            compartmentId: z.string(),
            name: z.string(),
            description: z.string(),
            ...tagFields,
          }),
        },
      },
      (request, reply) =>
        retryOnce(idempotency, request, reply, 'CreateTagNamespace', async () => {
          const { body, principal } = request;
          const { name, description } = body;
          const made = await tagNamespaces.create(principal, compartmentId(body.compartmentId), {
            name,
            description,
            tags: sentTags(body),
          });
          return { statusCode: 200, body: toOciNamespace(made) };
        }),
    );
    app.get(
      '/20160918/tagNamespaces/:namespace',
      { schema: { params: namespaceParameters } },
      async ({ params, principal }) =>
        toOciNamespace(await tagNamespaces.get(principal, idInPath(['tagnamespace'], params.namespace))),
    );
    app.put(
      '/20160918/tagNamespaces/:namespace',
      { schema: { params: namespaceParameters, body: z.object(namespaceChanges) } },
      async ({ params, body, principal }) => {
        const id = idInPath(['tagnamespace'], params.namespace);
        return toOciNamespace(await tagNamespaces.update(principal, id, changesOf(body)));
      },
    );
    app.get(
      '/20160918/tagNamespaces/:namespace/tags',
      {
        schema: {
          params: namespaceParameters,
          querystring: pageQuery.extend({ lifecycleState: z.string().default('ACTIVE') }),
        },
      },
      async ({ params, query, principal }, reply) => {
        if (query.lifecycleState !== 'ACTIVE') return [];
        const paging = { startAfter: cursorOf(query.page), limit: query.limit };
        const id = idInPath(['tagnamespace'], params.namespace);
        return answerPage(reply, await tagNamespaces.listTags(principal, id, paging)).map(toOciTag);
      },
    );
    app.post(
      '/20160918/tagNamespaces/:namespace/tags',
      {
        schema: {
          params: namespaceParameters,
          body: z.object({ name: z.string(), description: z.string(), validator, ...tagFields }),
        },
      },
      (request, reply) =>
        retryOnce(idempotency, request, reply, 'CreateTag', async () => {
          const { params, body, principal } = request;
          const { name, description } = body;
          const made = await tagNamespaces.createTag(
            principal,
            idInPath(['tagnamespace'], params.namespace),
            {
              name,
              description,
              values: valuesOf(body.validator),
              tags: sentTags(body),
            },
          );
          return { statusCode: 200, body: toOciTag(made), headers: { etag: etagOfVersion(made.version) } };
        }),
    );
    app.get(
      '/20160918/tagNamespaces/:namespace/tags/:tag',
      { schema: { params: tagParameters } },
      async ({ params, principal }, reply) => {
        const id = idInPath(['tagnamespace'], params.namespace);
        const tag = await tagNamespaces.getTag(principal, id, params.tag);
        reply.header('etag', etagOfVersion(tag.version));
        return toOciTag(tag);
      },
    );
    app.put(
      '/20160918/tagNamespaces/:namespace/tags/:tag',
      { schema: { params: tagParameters, body: z.object({ validator, ...namespaceChanges }) } },
      async (request, reply) => {
        const { params, body, principal } = request;
        const id = idInPath(['tagnamespace'], params.namespace);
        const changes = { ...changesOf(body), values: valuesOf(body.validator) };
        const tag = await tagNamespaces.updateTag(principal, id, params.tag, changes, ifMatch(request));
        reply.header('etag', etagOfVersion(tag.version));
        return toOciTag(tag);
      },
    );
  };
}

function changesOf(body: z.infer<z.ZodObject<typeof namespaceChanges>>) {
  return {
    description: body.description ?? undefined,
    isRetired: body.isRetired ?? undefined,
    tags: sentTags(body),
  };
}

/** Undefined when nothing was said of it, null for any value. */
function valuesOf(sent: z.infer<typeof validator>): readonly string[] | null | undefined {
  if (sent === undefined || sent === null) return undefined;
  return sent.validatorType === 'ENUM' ? sent.values : null;
}

function toOciNamespace(namespace: TagNamespace): { [field: string]: JsonValue } {
  return {
    id: toOcid('tagnamespace', '', namespace.id),
    compartmentId: compartmentOcid(namespace.compartmentId),
    name: namespace.name,
    description: namespace.description,
    isRetired: namespace.isRetired,
    lifecycleState: 'ACTIVE',
    timeCreated: new Date(namespace.createdAtMs).toISOString(),
    ...tagBody(namespace.tags),
  };
}

function toOciTag({ namespace, ...tag }: TagDefinition): { [field: string]: JsonValue } {
  return {
    id: toOcid('tagdefinition', '', tag.id),
    compartmentId: compartmentOcid(namespace.compartmentId),
    tagNamespaceId: toOcid('tagnamespace', '', namespace.id),
    tagNamespaceName: namespace.name,
    name: tag.name,
    description: tag.description,
    isRetired: tag.isRetired,
    lifecycleState: 'ACTIVE',
    isCostTracking: false,
    validator: tag.values === undefined ? null : { validatorType: 'ENUM', values: tag.values },
    timeCreated: new Date(tag.createdAtMs).toISOString(),
    ...tagBody(tag.tags),
  };
}
