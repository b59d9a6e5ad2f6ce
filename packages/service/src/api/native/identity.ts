import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { ApiKeys } from '../../domain/api-keys.ts';
import type { Compartments } from '../../domain/compartments.ts';
import { type Grants, grantResources, grantVerbs } from '../../domain/grants.ts';
import type { Region } from '../../domain/region.ts';
import type { Tenancies } from '../../domain/tenancies.ts';
import type { User, Users } from '../../domain/users.ts';
import { toOcid } from '../oci/ocid.ts';
import { compartmentRoutes } from './compartments.ts';
import { errorBody } from './errors.ts';

const tenancyBody = z.object({
  id: z.string(),
  name: z.string(),
  namespace: z.string().describe("Object storage's name for it"),
  ocid: z.string().describe('What the clients of OCI call it'),
  createdAtMs: z.number().int(),
});
const userBody = z.object({
  id: z.string(),
  name: z.string(),
  role: z.enum(['administrator', 'member']),
  description: z.string(),
  email: z.string().nullable(),
  ocid: z.string().describe('What the clients of OCI call it'),
  createdAtMs: z.number().int(),
});
const apiKeyBody = z.object({
  fingerprint: z.string(),
  publicKeyPem: z.string(),
  createdAtMs: z.number().int(),
});
const grantBody = z.object({
  id: z.string(),
  verb: z.enum(grantVerbs),
  resource: z.enum(grantResources),
  compartmentId: z.string(),
  createdAtMs: z.number().int(),
});
const token = z.string().describe('Shown once');
const userParameters = z.object({ user: z.string() });
const listOf = <Item extends z.ZodType>(item: Item) => z.object({ items: z.array(item) });

export interface IdentityRouteParts {
  readonly region: Region;
  readonly tenancies: Tenancies;
  readonly compartments: Compartments;
  readonly users: Users;
  readonly apiKeys: ApiKeys;
  readonly grants: Grants;
}

/** Tenancies, users with their API keys and grants, compartments. */
export function identityRoutes(parts: IdentityRouteParts): FastifyPluginAsyncZod {
  const { region, tenancies, users } = parts;
  const toTenancyBody = (tenancy: Awaited<ReturnType<Tenancies['get']>>) => ({
    ...tenancy,
    ocid: toOcid('tenancy', region.name, tenancy.id),
  });
  return async (app) => {
    app.get(
      '/whoami',
      {
        schema: {
          summary: 'Show who asks, of which tenancy, in which region',
          tags: ['identity'],
          response: {
            200: z.object({ user: userBody, tenancy: tenancyBody, region: z.string() }),
            default: errorBody,
          },
        },
      },
      async ({ principal }) => ({
        user: toUserBody(await users.get(principal, principal.userId)),
        tenancy: toTenancyBody(await tenancies.get(principal)),
        region: region.name,
      }),
    );
    app.get(
      '/tenancies',
      {
        schema: {
          summary: 'List tenancies; all of them for administrators of the first, the own one for others',
          tags: ['identity'],
          response: { 200: listOf(tenancyBody), default: errorBody },
        },
      },
      async ({ principal }) => ({ items: (await tenancies.list(principal)).map(toTenancyBody) }),
    );
    app.post(
      '/tenancies',
      {
        schema: {
          summary: 'Create a tenancy with an administrator; for administrators of the first tenancy',
          tags: ['identity'],
          body: z.object({
            name: z.string().describe('1 to 63 small letters, digits and hyphens; its namespace too'),
            administratorName: z.string().default('admin'),
          }),
          response: {
            201: z.object({ tenancy: tenancyBody, administrator: userBody, token }),
            default: errorBody,
          },
        },
      },
      async ({ body, principal }, reply) => {
        const made = await tenancies.create(principal, body);
        reply.status(201);
        return {
          tenancy: toTenancyBody(made.tenancy),
          administrator: toUserBody(made.administrator),
          token: made.token,
        };
      },
    );
    await app.register(userRoutes(parts));
    await app.register(compartmentRoutes(parts.compartments));
  };
}

function userRoutes({ users, apiKeys, grants }: IdentityRouteParts): FastifyPluginAsyncZod {
  return async (app) => {
    app.get(
      '/users',
      {
        schema: {
          summary: 'List the users that one may see, by name',
          tags: ['identity'],
          response: { 200: listOf(userBody), default: errorBody },
        },
      },
      async ({ principal }) => ({ items: (await users.list(principal)).map(toUserBody) }),
    );
    app.post(
      '/users',
      {
        schema: {
          summary: 'Create a user',
          tags: ['identity'],
          body: z.object({
            name: z.string().describe('1 to 100 letters, digits and . _ @ + -'),
            role: z.enum(['administrator', 'member']).default('member'),
            description: z.string().default(''),
            email: z.string().optional(),
          }),
          response: { 201: z.object({ user: userBody, token }), default: errorBody },
        },
      },
      async ({ body, principal }, reply) => {
        const made = await users.create(principal, body);
        reply.status(201);
        return { user: toUserBody(made.user), token: made.token };
      },
    );
    app.get(
      '/users/:user',
      {
        schema: {
          summary: 'Show a user',
          tags: ['identity'],
          params: userParameters,
          response: { 200: userBody, default: errorBody },
        },
      },
      async ({ params, principal }) => toUserBody(await users.get(principal, params.user)),
    );
    app.delete(
      '/users/:user',
      {
        schema: {
          summary: 'Delete a user with its tokens, API keys, grants and pre-authenticated requests',
          tags: ['identity'],
          params: userParameters,
          response: { 204: z.null(), default: errorBody },
        },
      },
      async ({ params, principal }, reply) => {
        await users.delete(principal, params.user);
        await reply.status(204).send(null);
      },
    );
    app.get(
      '/users/:user/api-keys',
      {
        schema: {
          summary: "List a user's API keys",
          tags: ['identity'],
          params: userParameters,
          response: { 200: listOf(apiKeyBody), default: errorBody },
        },
      },
      async ({ params, principal }) => ({ items: await apiKeys.list(principal, params.user) }),
    );
    app.post(
      '/users/:user/api-keys',
      {
        schema: {
          summary: 'Add an API key, with which the user signs requests of the OCI dialect',
          tags: ['identity'],
          params: userParameters,
          body: z.object({
            publicKeyPem: z
              .string()
              .describe('An RSA public key of 2048 to 8192 bits; never the private one'),
          }),
          response: { 201: apiKeyBody, default: errorBody },
        },
      },
      async ({ params, body, principal }, reply) => {
        const key = await apiKeys.upload(principal, params.user, body.publicKeyPem);
        reply.status(201);
        return key;
      },
    );
    app.delete(
      '/users/:user/api-keys/:fingerprint',
      {
        schema: {
          summary: 'Delete an API key',
          tags: ['identity'],
          params: userParameters.extend({ fingerprint: z.string() }),
          response: { 204: z.null(), default: errorBody },
        },
      },
      async ({ params, principal }, reply) => {
        await apiKeys.delete(principal, params.user, params.fingerprint);
        await reply.status(204).send(null);
      },
    );
    app.get(
      '/users/:user/grants',
      {
        schema: {
          summary: 'List what a user may do',
          tags: ['identity'],
          params: userParameters,
          response: { 200: listOf(grantBody), default: errorBody },
        },
      },
      async ({ params, principal }) => ({ items: await grants.list(principal, params.user) }),
    );
    app.post(
      '/users/:user/grants',
      {
        schema: {
          summary: 'Let a user do something in a compartment and all below it; for administrators',
          tags: ['identity'],
          params: userParameters,
          body: grantBody.pick({ verb: true, resource: true, compartmentId: true }),
          response: { 201: grantBody, default: errorBody },
        },
      },
      async ({ params, body, principal }, reply) => {
        const grant = await grants.give(principal, { userId: params.user, ...body });
        reply.status(201);
        return grant;
      },
    );
    app.delete(
      '/users/:user/grants/:grant',
      {
        schema: {
          summary: 'Take a grant back; for administrators',
          tags: ['identity'],
          params: userParameters.extend({ grant: z.string() }),
          response: { 204: z.null(), default: errorBody },
        },
      },
      async ({ params, principal }, reply) => {
        await grants.revoke(principal, params.user, params.grant);
        await reply.status(204).send(null);
      },
    );
  };
}

function toUserBody(user: User): z.infer<typeof userBody> {
  const { id, name, role, description, createdAtMs } = user;
  return {
    id,
    name,
    role,
    description,
    email: user.email ?? null,
    ocid: toOcid('user', '', id),
    createdAtMs,
  };
}
