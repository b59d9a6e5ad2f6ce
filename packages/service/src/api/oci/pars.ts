import type { FastifyRequest } from 'fastify';
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Objects } from '../../domain/objects.ts';
import type { ParAction } from '../../domain/par-access.ts';
import type { PreAuthenticatedRequests, UsedPar } from '../../domain/pars.ts';
import type { UploadPlace, Uploads } from '../../domain/uploads.ts';
import { writeCondition } from '../http/conditions.ts';
import { takeBodiesAsStreams } from '../http/request-body.ts';
import { answerObjectStorageError, uploadNotFound } from './object-storage/errors.ts';
import { objectListingBody, objectListingQuery } from './object-storage/listing.ts';
import { attributesOfHeaders, wantedChecksums } from './object-storage/object-headers.ts';
import { answerObject, answerWritten, overridesQuery, storeObject } from './object-storage/objects.ts';
import { storePart, uploadBody } from './object-storage/uploads.ts';

const linkParameters = z.object({
  token: z.string(),
  namespace: z.string(),
  bucket: z.string(),
  '*': z.string(),
});
type Link = z.infer<typeof linkParameters>;

/** Behind an upload's object, as in `NAME/id/UPLOAD/3`; the object's own name may hold anything. */
const UPLOAD_PATH = /^(.+)\/id\/([^/]+)\/(\d*)$/s;

export interface OpenParParts {
  readonly pars: PreAuthenticatedRequests;
  readonly objects: Objects;
  readonly uploads: Uploads;
}

/**
 * What the URLs of pre-authenticated requests are good for, without a signature (Oracle's documentation, "Using
 * Pre-Authenticated Requests"): to read an object, to write it at once or in parts, to list.
 */
export function openParRoutes({ pars, objects, uploads }: OpenParParts): FastifyPluginAsyncZod {
  const use = (link: Link, action: ParAction, key: string): Promise<UsedPar> => pars.use(link, action, key);

  /** The upload that a path names, begun through the same URL, and the part. */
  const uploadOf = async (link: Link): Promise<{ place: UploadPlace; partNumber: number | undefined }> => {
    const [, key = '', uploadId = '', number = ''] = UPLOAD_PATH.exec(link['*']) ?? [];
    const { id, principal } = await use(link, 'write', key);
    const place = { principal, bucket: link.bucket, uploadId, ofKey: key };
    const { preAuthenticatedRequestId } = await uploads.find(place);
    if (preAuthenticatedRequestId !== id) throw uploadNotFound();
    return { place, partNumber: number === '' ? undefined : Number(number) };
  };

  return async (app) => {
    app.setErrorHandler(answerObjectStorageError);
    takeBodiesAsStreams(app);
    app.route({
      method: ['GET', 'HEAD'],
      url: '/p/:token/n/:namespace/b/:bucket/o/*',
      exposeHeadRoute: false,
      schema: { params: linkParameters, querystring: overridesQuery.extend(objectListingQuery.shape) },
      async handler(request, reply) {
        const { params, query } = request;
        const { '*': key, bucket } = params;
        if (key !== '') {
          const { principal } = await use(params, 'read', key);
          return answerObject(request as FastifyRequest, reply, objects, { principal, bucket, key }, query);
        }
        const { principal, scope } = await use(params, 'list', '');
        const prefix = commonPrefix(scope.objectKey ?? '', query.prefix ?? '');
        const listed =
          prefix === undefined ? EMPTY : await objects.browse({ principal, bucket }, { ...query, prefix });
        return reply.send(objectListingBody(listed, query));
      },
    });
    app.put(
      '/p/:token/n/:namespace/b/:bucket/o/*',
      { bodyLimit: Number.MAX_SAFE_INTEGER, schema: { params: linkParameters } },
      async (request, reply) => {
        const { params, headers } = request;
        const { '*': key, bucket } = params;
        const { id, principal } = await use(params, 'write', key);
        const place = { principal, bucket, key };
        if (headers['opc-multipart'] !== 'true') {
          return answerWritten(reply, await storeObject(request as FastifyRequest, objects, place));
        }
        const upload = await uploads.create(place, {
          key,
          contentType: headers['content-type'],
          attributes: {
            object: attributesOfHeaders(headers),
            checksums: [...wantedChecksums(headers)],
            preAuthenticatedRequestId: id,
          },
          condition: writeCondition(headers),
        });
        const accessUri = uploadPath(params, upload.id);
        await reply.send({ ...uploadBody(params, upload), accessUri });
      },
    );
    app.put(
      '/p/:token/n/:namespace/b/:bucket/u/*',
      { bodyLimit: Number.MAX_SAFE_INTEGER, schema: { params: linkParameters } },
      async (request, reply) => {
        const { place, partNumber = 0 } = await uploadOf(request.params);
        await storePart(request as FastifyRequest, reply, uploads, place, partNumber);
      },
    );
    app.post(
      '/p/:token/n/:namespace/b/:bucket/u/*',
      { schema: { params: linkParameters } },
      async (request, reply) => {
        const { place } = await uploadOf(request.params);
        const object = await uploads.complete(place, 'all', writeCondition(request.headers));
        await answerWritten(reply, object);
      },
    );
    app.delete(
      '/p/:token/n/:namespace/b/:bucket/u/*',
      { schema: { params: linkParameters } },
      async (request, reply) => {
        const { place } = await uploadOf(request.params);
        await uploads.abort(place);
        await reply.status(204).send();
      },
    );
  };
}

const EMPTY = { objects: [], prefixes: [], next: undefined };

/** What begins both ways; undefined when nothing does. */
function commonPrefix(allowed: string, asked: string): string | undefined {
  if (asked.startsWith(allowed)) return asked;
  return allowed.startsWith(asked) ? allowed : undefined;
}

function uploadPath({ token, namespace, bucket, '*': key }: Link, uploadId: string): string {
  const names = [namespace, bucket, key].map(encodeURIComponent);
  return `/p/${token}/n/${names[0]}/b/${names[1]}/u/${names[2]}/id/${uploadId}/`;
}
