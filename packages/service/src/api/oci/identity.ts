import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { ApiKey, ApiKeys } from '../../domain/api-keys.ts';
import type { Compartments } from '../../domain/compartments.ts';
import { DomainError } from '../../domain/errors.ts';
import { availabilityDomainOf, type Region } from '../../domain/region.ts';
import type { TagNamespaces } from '../../domain/tag-namespaces.ts';
import type { Tenancies } from '../../domain/tenancies.ts';
import type { User, Users } from '../../domain/users.ts';
import type { Idempotency } from '../../jobs/idempotency.ts';
import { compartmentRoutes } from './identity-compartments.ts';
import { tagRoutes } from './identity-tags.ts';
import { compartmentId, idInPath, toOcid } from './ocid.ts';
import { retryOnce } from './retry.ts';

export interface OciIdentityParts {
  readonly region: Region;
  readonly tenancies: Tenancies;
  readonly compartments: Compartments;
  readonly users: Users;
  readonly apiKeys: ApiKeys;
  readonly tagNamespaces: TagNamespaces;
  readonly idempotency: Idempotency;
}

/** OCI's Identity service: regions, the tenancy, compartments, users, API keys, tags. */
export function ociIdentityRoutes(parts: OciIdentityParts): FastifyPluginAsyncZod {
  const { region, tenancies, compartments } = parts;
  const regionNames = [region.name, ...region.peers.keys()];
  return async (app) => {
    app.get('/20160918/regions', async () => regionNames.map((name) => ({ key: regionKey(name), name })));
    app.get(
      '/20160918/tenancies/:tenancy',
      { schema: { params: z.object({ tenancy: z.string() }) } },
      async ({ params, principal }) => {
        const tenancy = await tenancies.get(principal);
        requireOwnTenancy(params.tenancy, tenancy.id);
        const root = await compartments.get(principal, tenancy.id);
        return {
          id: toOcid('tenancy', '', tenancy.id),
          name: tenancy.name,
          description: root.description,
          homeRegionKey: regionKey(region.name),
          freeformTags: root.tags.freeform,
          definedTags: root.tags.defined,
        };
      },
    );
    app.get(
      '/20160918/tenancies/:tenancy/regionSubscriptions',
      { schema: { params: z.object({ tenancy: z.string() }) } },
      async ({ params, principal }) => {
        requireOwnTenancy(params.tenancy, principal.tenancyId);
        return regionNames.map((name) => ({
          regionKey: regionKey(name),
          regionName: name,
          status: 'READY',
          isHomeRegion: name === region.name,
        }));
      },
    );
    app.get(
      '/20160918/availabilityDomains',
      { schema: { querystring: z.object({ compartmentId: z.string() }) } },
      async ({ query, principal }) => {
        await compartments.get(principal, compartmentId(query.compartmentId));
        return [{ name: availabilityDomainOf(region), compartmentId: query.compartmentId }];
      },
    );
    await app.register(compartmentRoutes(parts));
    await app.register(userRoutes(parts));
    await app.register(tagRoutes(parts));
  };
}

const userParameters = z.object({ user: z.string() });

function userRoutes({ users, apiKeys, idempotency }: OciIdentityParts): FastifyPluginAsyncZod {
  return async (app) => {
    app.get(
      '/20160918/users',
      { schema: { querystring: z.object({ compartmentId: z.string(), name: z.string().optional() }) } },
      async ({ query, principal }) => {
        requireOwnTenancy(query.compartmentId, principal.tenancyId);
        const all = await users.list(principal);
        return all.filter(({ name }) => query.name === undefined || name === query.name).map(toOciUser);
      },
    );
    app.get(
      '/20160918/users/:user',
      { schema: { params: userParameters } },
      async ({ params, principal }, reply) => {
        const user = await users.get(principal, idInPath(['user'], params.user));
        // A user does not change.
        reply.header('etag', 'v1');
        return toOciUser(user);
      },
    );
    app.get(
      '/20160918/users/:user/apiKeys',
      { schema: { params: userParameters } },
      async ({ params, principal }) => {
        const keys = await apiKeys.list(principal, idInPath(['user'], params.user));
        return keys.map((key) => toOciApiKey(key, principal.tenancyId));
      },
    );
    app.post(
      '/20160918/users/:user/apiKeys',
      { schema: { params: userParameters, body: z.object({ key: z.string() }) } },
      (request, reply) =>
        retryOnce(idempotency, request, reply, 'UploadApiKey', async () => {
          const { params, body, principal } = request;
          const key = await apiKeys.upload(principal, idInPath(['user'], params.user), body.key);
          return {
            statusCode: 200,
            body: toOciApiKey(key, principal.tenancyId),
            headers: { etag: 'v1' },
          };
        }),
    );
    app.delete(
      '/20160918/users/:user/apiKeys/:fingerprint',
      { schema: { params: userParameters.extend({ fingerprint: z.string() }) } },
      async ({ params, principal }, reply) => {
        await apiKeys.delete(principal, idInPath(['user'], params.user), params.fingerprint);
        await reply.status(204).send();
      },
    );
  };
}

/** OCI's keys of regions are three capital letters; ours are the name. */
function regionKey(name: string): string {
  return name.toUpperCase();
}

function requireOwnTenancy(ocid: string, tenancyId: string): void {
  if (idInPath(['tenancy'], ocid) !== tenancyId) {
    throw new DomainError('NOT_FOUND', `there is no tenancy ${ocid}`);
  }
}

function toOciUser(user: User): object {
  return {
    id: toOcid('user', '', user.id),
    compartmentId: toOcid('tenancy', '', user.tenancyId),
    name: user.name,
    description: user.description,
    email: user.email ?? null,
    emailVerified: false,
    timeCreated: new Date(user.createdAtMs).toISOString(),
    lifecycleState: 'ACTIVE',
    capabilities: {
      canUseConsolePassword: false,
      canUseApiKeys: true,
      canUseAuthTokens: false,
      canUseSmtpCredentials: false,
      canUseCustomerSecretKeys: false,
      canUseOAuth2ClientCredentials: false,
    },
    isMfaActivated: false,
    freeformTags: {},
    definedTags: {},
  };
}

function toOciApiKey(key: ApiKey, tenancyId: string) {
  const userId = toOcid('user', '', key.userId);
  return {
    keyId: `${toOcid('tenancy', '', tenancyId)}/${userId}/${key.fingerprint}`,
    keyValue: key.publicKeyPem,
    fingerprint: key.fingerprint,
    userId,
    timeCreated: new Date(key.createdAtMs).toISOString(),
    lifecycleState: 'ACTIVE',
  };
}
