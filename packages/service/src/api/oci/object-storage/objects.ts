import type { FastifyReply, FastifyRequest } from 'fastify';
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { DomainError } from '../../../domain/errors.ts';
import type { EtagList } from '../../../domain/object-conditions.ts';
import { PART_BYTES_MAX } from '../../../domain/object-limits.ts';
import type { Objects } from '../../../domain/objects.ts';
import { noObject, type ObjectPlace, type StoredObject } from '../../../domain/stored-object.ts';
import type { Tenancies } from '../../../domain/tenancies.ts';
import { writeCondition } from '../../http/conditions.ts';
import { bodyHeaders, requestBody, takeBodiesAsStreams } from '../../http/request-body.ts';
import { sendObject } from '../../http/send-object.ts';
import { objectListingBody, objectListingQuery } from './listing.ts';
import { bucketOfPath } from './names.ts';
import {
  attributesOfHeaders,
  expectedChecksums,
  headersOfChecksums,
  headersOfObject,
  requireNoCustomerKeys,
  wantedChecksums,
} from './object-headers.ts';

const bucketParameters = z.object({ namespace: z.string(), bucket: z.string() });
/** An object's name is one segment, percent-encoded; slashes as they are do no harm. */
const objectParameters = bucketParameters.extend({ '*': z.string() });

/** What a reader may have said in place of the object's own headers. */
export const overridesQuery = z.object({
  versionId: z.string().optional(),
  httpResponseContentDisposition: z.string().optional(),
  httpResponseCacheControl: z.string().optional(),
  httpResponseContentType: z.string().optional(),
  httpResponseContentLanguage: z.string().optional(),
  httpResponseContentEncoding: z.string().optional(),
  httpResponseExpires: z.string().optional(),
});

export interface OciObjectParts {
  readonly tenancies: Tenancies;
  readonly objects: Objects;
}

/** Objects: list, put, get, rename, delete. */
export function objectRoutes({ tenancies, objects }: OciObjectParts): FastifyPluginAsyncZod {
  const placeOf = async (request: FastifyRequest): Promise<ObjectPlace> => {
    const { '*': key } = request.params as { '*': string };
    return { ...(await bucketOfPath(tenancies, request)), key };
  };
  return async (app) => {
    app.get(
      '/n/:namespace/b/:bucket/o',
      { schema: { params: bucketParameters, querystring: objectListingQuery } },
      async (request) => {
        const listed = await objects.browse(await bucketOfPath(tenancies, request), request.query);
        return objectListingBody(listed, request.query);
      },
    );
    app.route({
      method: ['GET', 'HEAD'],
      url: '/n/:namespace/b/:bucket/o/*',
      exposeHeadRoute: false,
      schema: { params: objectParameters, querystring: overridesQuery },
      handler: async (request, reply) =>
        answerObject(request, reply, objects, await placeOf(request), request.query),
    });
    app.delete(
      '/n/:namespace/b/:bucket/o/*',
      { schema: { params: objectParameters, querystring: z.object({ versionId: z.string().optional() }) } },
      async (request, reply) => {
        const place = await placeOf(request);
        const { versionId } = request.query;
        const condition = writeCondition(request.headers);
        // There is one version of an object, and its name is its ETag.
        if (versionId !== undefined && versionId !== (await objects.get(place)).etag) throw noObject(place);
        await objects.delete(
          place,
          versionId === undefined ? condition : { ...condition, ifMatch: [versionId] },
        );
        await reply.status(204).send();
      },
    );
    app.post(
      '/n/:namespace/b/:bucket/actions/renameObject',
      {
        schema: {
          params: bucketParameters,
          body: z.object({
            sourceName: z.string(),
            newName: z.string(),
            srcObjIfMatchETag: z.string().nullish(),
            newObjIfMatchETag: z.string().nullish(),
            newObjIfNoneMatchETag: z.string().nullish(),
          }),
        },
      },
      async (request, reply) => {
        const { sourceName, newName, ...etags } = request.body;
        const place = { ...(await bucketOfPath(tenancies, request)), key: sourceName };
        const object = await objects.rename(place, newName, {
          source: { ifMatch: etagList(etags.srcObjIfMatchETag) },
          target: {
            ifMatch: etagList(etags.newObjIfMatchETag),
            ifNoneMatch: etagList(etags.newObjIfNoneMatchETag),
          },
        });
        await answerWritten(reply, object);
      },
    );
    await app.register(async (streaming) => {
      takeBodiesAsStreams(streaming);
      streaming.put(
        '/n/:namespace/b/:bucket/o/*',
        {
          bodyLimit: Number.MAX_SAFE_INTEGER,
          config: { unsignedBody: true },
          schema: { params: objectParameters },
        },
        async (request, reply) => {
          const object = await storeObject(request, objects, await placeOf(request as FastifyRequest));
          await answerWritten(reply, object);
        },
      );
    });
  };
}

/** Answers GET and HEAD of an object, signed or by a pre-authenticated request. */
export async function answerObject(
  request: FastifyRequest,
  reply: FastifyReply,
  objects: Objects,
  place: ObjectPlace,
  query: z.infer<typeof overridesQuery>,
): Promise<FastifyReply> {
  requireNoCustomerKeys(request.headers);
  const overrides = overridesOf(query);
  return sendObject(request, reply, objects, place, (object) => {
    if (query.versionId !== undefined && query.versionId !== object.etag) throw noObject(place);
    return { ...headersOfObject(object), ...overrides };
  });
}

/** Stores the body of a PUT, signed or by a pre-authenticated request. */
export async function storeObject(
  request: FastifyRequest,
  objects: Objects,
  place: ObjectPlace,
): Promise<StoredObject> {
  const { headers } = request;
  const { expectedBytes } = bodyHeaders(request, { keepsCoding: true });
  const { object } = await objects.put(place, requestBody(request), {
    contentType: headers['content-type'],
    attributes: attributesOfHeaders(headers),
    condition: writeCondition(headers),
    expectedBytes,
    expected: expectedChecksums(headers),
    checksums: wantedChecksums(headers),
    maxBytes: PART_BYTES_MAX,
  });
  return object;
}

/** Answers what an object is now that it was written or renamed. */
export async function answerWritten(reply: FastifyReply, object: StoredObject): Promise<void> {
  const { checksums = {}, partChecksums = {} } = object.attributes;
  const headers = {
    ...headersOfChecksums(checksums),
    'opc-multipart-md5': partChecksums.md5,
    'opc-multipart-sha256': partChecksums.sha256,
    'opc-multipart-sha384': partChecksums.sha384,
    etag: object.etag,
    'version-id': object.etag,
    'last-modified': new Date(object.createdAtMs).toUTCString(),
  };
  for (const [name, value] of Object.entries(headers)) if (value !== undefined) reply.header(name, value);
  await reply.status(200).send();
}

/** An ETag in a body. */
export function etagList(etag: string | null | undefined): EtagList | undefined {
  if (etag === undefined || etag === null) return undefined;
  return etag === '*' ? '*' : [etag.replace(/^"(.*)"$/, '$1')];
}

function overridesOf(query: z.infer<typeof overridesQuery>): Record<string, string | undefined> {
  const overrides = {
    'content-disposition': query.httpResponseContentDisposition,
    'cache-control': query.httpResponseCacheControl,
    'content-type': query.httpResponseContentType,
    'content-language': query.httpResponseContentLanguage,
    'content-encoding': query.httpResponseContentEncoding,
    expires: query.httpResponseExpires,
  };
  for (const [name, value] of Object.entries(overrides)) {
    if (value !== undefined && !/^[\x20-\x7e]{1,1000}$/.test(value)) {
      throw new DomainError('INVALID', `${name} is 1 to 1000 characters of ASCII`);
    }
  }
  return Object.fromEntries(Object.entries(overrides).filter(([, value]) => value !== undefined));
}
