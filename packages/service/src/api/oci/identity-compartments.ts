import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Compartment, Compartments } from '../../domain/compartments.ts';
import { DomainError } from '../../domain/errors.ts';
import { etagOfVersion } from '../../domain/versions.ts';
import type { Idempotency } from '../../jobs/idempotency.ts';
import type { JsonValue } from '../../json.ts';
import { ifMatch } from './if-match.ts';
import { compartmentId, compartmentOcid, idInPath, toOcid } from './ocid.ts';
import { answerPage, cursorOf, pageQuery } from './pages.ts';
import { retryOnce } from './retry.ts';
import { sentTags, tagBody, tagFields } from './tags.ts';

const parameters = z.object({ compartment: z.string() });
const listQuery = pageQuery.extend({
  compartmentId: z.string(),
  // Both show what may be seen: nothing here is listed that the user has no permission in, above or below.
  accessLevel: z.enum(['ANY', 'ACCESSIBLE']).default('ANY'),
  compartmentIdInSubtree: z.stringbool().default(false),
  name: z.string().optional(),
  sortBy: z.enum(['TIMECREATED', 'NAME']).default('TIMECREATED'),
  sortOrder: z.enum(['ASC', 'DESC']).optional(),
  lifecycleState: z.string().default('ACTIVE'),
});
/** Of deleted compartments, whose deletion was over at once. */
const WORK_REQUEST = '/20160918/workRequests/:workRequest(^ocid1\\.identityworkrequest\\..+)';

export interface CompartmentRouteParts {
  readonly compartments: Compartments;
  readonly idempotency: Idempotency;
}

/** Compartments of OCI's Identity service. */
export function compartmentRoutes({
  compartments,
  idempotency,
}: CompartmentRouteParts): FastifyPluginAsyncZod {
  return async (app) => {
    app.get(
      '/20160918/compartments',
      { schema: { querystring: listQuery } },
      async ({ query, principal }, reply) => {
        const all = await compartments.list(principal, {
          below: compartmentId(query.compartmentId),
          inSubtree: query.compartmentIdInSubtree,
          deleted: query.lifecycleState === 'DELETED',
        });
        const isKnownState = ['ACTIVE', 'DELETED'].includes(query.lifecycleState);
        const wanted = all.filter(({ name }) => isKnownState && (query.name ?? name) === name);
        return answerPage(reply, pageOf(wanted, query)).map(toOciCompartment);
      },
    );
    app.post(
      '/20160918/compartments',
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
        retryOnce(idempotency, request, reply, 'CreateCompartment', async () => {
          const { body, principal } = request;
          const { name, description } = body;
          const made = await compartments.create(principal, compartmentId(body.compartmentId), {
            name,
            description,
            tags: sentTags(body),
          });
          return {
            statusCode: 200,
            body: toOciCompartment(made),
            headers: { etag: etagOfVersion(made.version) },
          };
        }),
    );
    app.get(
      '/20160918/compartments/:compartment',
      { schema: { params: parameters } },
      async ({ params, principal }, reply) => {
        const id = idInPath(['compartment', 'tenancy'], params.compartment);
        const found = await compartments.get(principal, id);
        reply.header('etag', etagOfVersion(found.version));
        return toOciCompartment(found);
      },
    );
    app.put(
      '/20160918/compartments/:compartment',
      {
        schema: {
          params: parameters,
          body: z.object({ name: z.string().nullish(), description: z.string().nullish(), ...tagFields }),
        },
      },
      async (request, reply) => {
        const { params, body, principal } = request;
        const id = idInPath(['compartment', 'tenancy'], params.compartment);
        const changes = {
          name: body.name ?? undefined,
          description: body.description ?? undefined,
          tags: sentTags(body),
        };
        const changed = await compartments.update(principal, id, changes, ifMatch(request));
        reply.header('etag', etagOfVersion(changed.version));
        return toOciCompartment(changed);
      },
    );
    app.delete(
      '/20160918/compartments/:compartment',
      { schema: { params: parameters } },
      async (request, reply) => {
        const id = idInPath(['compartment', 'tenancy'], request.params.compartment);
        await compartments.delete(request.principal, id, ifMatch(request));
        await reply
          .status(202)
          .header('opc-work-request-id', toOcid('identityworkrequest', '', id))
          .send();
      },
    );
    app.get(
      WORK_REQUEST,
      { schema: { params: z.object({ workRequest: z.string() }) } },
      async ({ params, principal }) => {
        const id = idInPath(['identityworkrequest'], params.workRequest);
        return toWorkRequest(await compartments.get(principal, id));
      },
    );
  };
}

interface Sorting {
  readonly sortBy: 'TIMECREATED' | 'NAME';
  readonly sortOrder?: 'ASC' | 'DESC' | undefined;
  readonly page?: string | undefined;
  readonly limit: number;
}

/** One page in this order, after the item that the cursor names by its place in it. */
function pageOf(
  all: readonly Compartment[],
  { sortBy, sortOrder = sortBy === 'NAME' ? 'ASC' : 'DESC', page, limit }: Sorting,
): { items: readonly Compartment[]; next: string | undefined } {
  // Ids sort by time, and tell apart those of one name.
  const placeOf = ({ name, id }: Compartment) => (sortBy === 'NAME' ? `${name}\n${id}` : id);
  const direction = sortOrder === 'ASC' ? 1 : -1;
  const compare = (a: string, b: string) => (a === b ? 0 : a < b ? -direction : direction);
  const cursor = cursorOf(page);
  const sorted = all
    .filter((each) => cursor === undefined || compare(placeOf(each), cursor) > 0)
    .sort((a, b) => compare(placeOf(a), placeOf(b)));
  const items = sorted.slice(0, limit);
  const last = items.at(-1);
  return { items, next: sorted.length > limit && last !== undefined ? placeOf(last) : undefined };
}

function toOciCompartment(compartment: Compartment): { [field: string]: JsonValue } {
  const { id, parentId, name, description, tags, createdAtMs, deletedAtMs } = compartment;
  return {
    id: compartmentOcid(id),
    // A root's parent is itself: clients that climb stop there.
    compartmentId: compartmentOcid(parentId ?? id),
    name,
    description,
    timeCreated: new Date(createdAtMs).toISOString(),
    lifecycleState: deletedAtMs === undefined ? 'ACTIVE' : 'DELETED',
    isAccessible: true,
    ...tagBody(tags),
  };
}

function toWorkRequest(compartment: Compartment): object {
  const { id, parentId, deletedAtMs } = compartment;
  if (deletedAtMs === undefined) throw new DomainError('NOT_FOUND', 'there is no such work request');
  const time = new Date(deletedAtMs).toISOString();
  return {
    id: toOcid('identityworkrequest', '', id),
    operationType: 'DELETE_COMPARTMENT',
    compartmentId: compartmentOcid(parentId ?? id),
    status: 'SUCCEEDED',
    resources: [{ identifier: compartmentOcid(id), entityType: 'compartment', actionType: 'DELETED' }],
    errors: [],
    logs: [],
    timeAccepted: time,
    timeStarted: time,
    timeFinished: time,
    percentComplete: 100,
  };
}
