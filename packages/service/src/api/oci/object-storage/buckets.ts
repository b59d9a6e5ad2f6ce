import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Bucket, BucketMeasure, Buckets } from '../../../domain/buckets.ts';
import { DomainError } from '../../../domain/errors.ts';
import type { Tenancies } from '../../../domain/tenancies.ts';
import { readCondition, writeCondition } from '../../http/conditions.ts';
import { compartmentId, compartmentOcid, toOcid } from '../ocid.ts';
import { answerPage, cursorOf, pageQuery } from '../pages.ts';
import { sentTags, tagBody, tagFields } from '../tags.ts';
import { bucketOfPath, requireNamespace } from './names.ts';

/** The SDK repeats it for each of several. */
const fieldsQuery = z.union([z.string(), z.array(z.string())]).optional();
const bucketParameters = z.object({ namespace: z.string(), bucket: z.string() });

/** What this service does in one way only: another wish is refused rather than forgotten. */
const settings = {
  publicAccessType: 'NoPublicAccess',
  storageTier: 'Standard',
  versioning: 'Disabled',
  autoTiering: 'Disabled',
  objectEventsEnabled: false,
  isBucketKeyEnabled: false,
  bucketScope: 'NAMESPACE',
} as const;

const bucketDetails = z.object({
  name: z.string().nullish(),
  compartmentId: z.string().nullish(),
  metadata: z.record(z.string(), z.string()).nullish(),
  kmsKeyId: z.string().nullish(),
  ...tagFields,
  ...Object.fromEntries(Object.keys(settings).map((name) => [name, z.unknown().optional()])),
});

export interface OciBucketParts {
  readonly region: string;
  readonly tenancies: Tenancies;
  readonly buckets: Buckets;
}

/** Buckets: create, list, show, update, delete. */
export function bucketRoutes({ region, tenancies, buckets }: OciBucketParts): FastifyPluginAsyncZod {
  const answer = (namespace: string, bucket: Bucket) => bucketBody(region, namespace, bucket);
  return async (app) => {
    app.get(
      '/n/:namespace/b',
      {
        schema: {
          params: z.object({ namespace: z.string() }),
          querystring: pageQuery.extend({ compartmentId: z.string(), fields: fieldsQuery }),
        },
      },
      async (request, reply) => {
        const { namespace } = request.params;
        const principal = await requireNamespace(tenancies, request, namespace);
        const { compartmentId: ocid, limit, page } = request.query;
        const listing = { compartmentId: compartmentId(ocid), startAfter: cursorOf(page), limit };
        const items = answerPage(reply, await buckets.list({ principal, ...listing }));
        const withTags = fieldsOf(request.query.fields).has('tags');
        return items.map((bucket) => summaryBody(region, namespace, bucket, withTags));
      },
    );
    app.post(
      '/n/:namespace/b',
      {
        schema: {
          params: z.object({ namespace: z.string() }),
          body: bucketDetails.extend({ name: z.string(), compartmentId: z.string() }),
        },
      },
      async (request, reply) => {
        const { namespace } = request.params;
        const principal = await requireNamespace(tenancies, request, namespace);
        requireSettings(request.body);
        const { name, compartmentId: ocid, metadata } = request.body;
        const bucket = await buckets.create(principal, {
          name,
          naming: 'oci',
          compartmentId: compartmentId(ocid),
          metadata: metadata ?? undefined,
          tags: sentTags(request.body),
        });
        reply.header('etag', bucket.etag);
        reply.header('location', `/n/${encodeURIComponent(namespace)}/b/${encodeURIComponent(name)}`);
        return answer(namespace, bucket);
      },
    );
    app.route({
      method: ['GET', 'HEAD'],
      url: '/n/:namespace/b/:bucket',
      exposeHeadRoute: false,
      schema: { params: bucketParameters, querystring: z.object({ fields: fieldsQuery }) },
      async handler(request, reply) {
        const { principal, bucket: name } = await bucketOfPath(tenancies, request);
        const isHead = request.method === 'HEAD';
        const bucket = await buckets.get(principal, name, isHead ? 'inspect' : 'read');
        reply.header('etag', bucket.etag);
        const { etag, createdAtMs: lastModifiedMs } = bucket;
        if (readCondition(request.headers, { etag, lastModifiedMs }) === 'not-modified') {
          return reply.status(304).send();
        }
        if (isHead) return reply.send();
        const fields = fieldsOf(request.query.fields);
        const isMeasured = fields.has('approximatecount') || fields.has('approximatesize');
        const measure = isMeasured ? await buckets.measure(principal, name) : undefined;
        return reply.send({ ...answer(request.params.namespace, bucket), ...measureBody(fields, measure) });
      },
    });
    app.post(
      '/n/:namespace/b/:bucket',
      { schema: { params: bucketParameters, body: bucketDetails } },
      async (request, reply) => {
        const { principal, bucket: name } = await bucketOfPath(tenancies, request);
        requireSettings(request.body);
        const { name: newName, compartmentId: ocid, metadata } = request.body;
        const bucket = await buckets.update(principal, name, {
          name: newName ?? undefined,
          naming: 'oci',
          compartmentId: ocid ? compartmentId(ocid) : undefined,
          metadata: metadata ?? undefined,
          tags: sentTags(request.body),
          ifMatch: writeCondition(request.headers).ifMatch,
        });
        reply.header('etag', bucket.etag);
        return answer(request.params.namespace, bucket);
      },
    );
    app.delete(
      '/n/:namespace/b/:bucket',
      { schema: { params: bucketParameters } },
      async (request, reply) => {
        const { principal, bucket: name } = await bucketOfPath(tenancies, request);
        await buckets.delete(principal, name, writeCondition(request.headers).ifMatch);
        await reply.status(204).send();
      },
    );
  };
}

/** Throws INVALID for what buckets cannot be made to do here. */
function requireSettings(body: Readonly<Record<string, unknown>>): void {
  for (const [name, only] of Object.entries(settings)) {
    const value = body[name];
    if (value === undefined || value === null || value === only) continue;
    throw new DomainError('INVALID', `${name} cannot be ${JSON.stringify(value)} here`, {
      hint: `leave it out, or set it to ${JSON.stringify(only)}`,
    });
  }
  if (body.kmsKeyId === undefined || body.kmsKeyId === null || body.kmsKeyId === '') return;
  throw new DomainError('INVALID', 'kmsKeyId: this service does not encrypt with keys of its clients', {
    hint: 'leave it out',
  });
}

/** A list with commas, or several of them; in small letters, as OCI compares them. */
export function fieldsOf(fields: string | readonly string[] | undefined): ReadonlySet<string> {
  return new Set(
    String(fields ?? '')
      .split(',')
      .map((field) => field.trim().toLowerCase()),
  );
}

function measureBody(fields: ReadonlySet<string>, measure: BucketMeasure | undefined): object {
  return {
    ...(fields.has('approximatecount') && { approximateCount: measure?.objectCount }),
    ...(fields.has('approximatesize') && { approximateSize: measure?.lengthBytes }),
  };
}

function commonBody(region: string, namespace: string, bucket: Bucket): object {
  return {
    namespace,
    name: bucket.name,
    compartmentId: compartmentOcid(bucket.compartmentId),
    createdBy: bucket.createdBy === undefined ? '' : toOcid('user', region, bucket.createdBy),
    timeCreated: new Date(bucket.createdAtMs).toISOString(),
    etag: bucket.etag,
  };
}

function summaryBody(region: string, namespace: string, bucket: Bucket, withTags: boolean): object {
  const tags = withTags ? tagBody(bucket.tags) : { freeformTags: null, definedTags: null };
  return { ...commonBody(region, namespace, bucket), ...tags };
}

function bucketBody(region: string, namespace: string, bucket: Bucket): object {
  return {
    ...commonBody(region, namespace, bucket),
    id: toOcid('bucket', region, bucket.id),
    metadata: bucket.metadata,
    ...tagBody(bucket.tags),
    ...settings,
    kmsKeyId: null,
    replicationEnabled: false,
    isReadOnly: false,
    approximateCount: null,
    approximateSize: null,
  };
}
