import type { FastifyReply, FastifyRequest } from 'fastify';
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { DomainError } from '../../../domain/errors.ts';
import { LARGEST_PART_NUMBER } from '../../../domain/object-limits.ts';
import type { Tenancies } from '../../../domain/tenancies.ts';
import type { Upload, UploadPlace, Uploads } from '../../../domain/uploads.ts';
import { writeCondition } from '../../http/conditions.ts';
import { bodyHeaders, requestBody, takeBodiesAsStreams } from '../../http/request-body.ts';
import { answerPage, cursorOf, pageQuery } from '../pages.ts';
import { bucketOfPath } from './names.ts';
import {
  expectedChecksums,
  headersOfChecksums,
  metadataField,
  requireNoCustomerKeys,
  storageTierOf,
  wantedChecksums,
} from './object-headers.ts';
import { answerWritten } from './objects.ts';

const bucketParameters = z.object({ namespace: z.string(), bucket: z.string() });
const uploadParameters = bucketParameters.extend({ '*': z.string() });
const uploadQuery = z.object({ uploadId: z.string() });

/** 10,000 parts with their ETags, and with what the SDK's upload manager leaves in them. */
const COMMIT_BODY_BYTES: number = 4 * 1024 * 1024;

const commitDetails = z.object({
  partsToCommit: z.array(z.object({ partNum: z.number().int(), etag: z.string() })).max(LARGEST_PART_NUMBER),
  partsToExclude: z.array(z.number().int()).nullish(),
});

export interface OciUploadParts {
  readonly tenancies: Tenancies;
  readonly uploads: Uploads;
}

/** Uploads in parts: begin, send parts, list, commit, abort. */
export function uploadRoutes({ tenancies, uploads }: OciUploadParts): FastifyPluginAsyncZod {
  const placeOf = async (request: FastifyRequest): Promise<UploadPlace> => {
    const { '*': ofKey } = request.params as { '*': string };
    const { uploadId } = request.query as z.infer<typeof uploadQuery>;
    return { ...(await bucketOfPath(tenancies, request)), uploadId, ofKey };
  };
  return async (app) => {
    app.post(
      '/n/:namespace/b/:bucket/u',
      {
        schema: {
          params: bucketParameters,
          body: z.object({
            object: z.string(),
            contentType: z.string().nullish(),
            contentLanguage: z.string().nullish(),
            contentEncoding: z.string().nullish(),
            contentDisposition: z.string().nullish(),
            cacheControl: z.string().nullish(),
            storageTier: z.string().nullish(),
            metadata: metadataField,
          }),
        },
      },
      async (request, reply) => {
        requireNoCustomerKeys(request.headers);
        const { object: key, contentType, ...details } = request.body;
        const place = await bucketOfPath(tenancies, request);
        const upload = await uploads.create(place, {
          key,
          contentType: contentType ?? undefined,
          attributes: {
            object: {
              contentLanguage: details.contentLanguage ?? undefined,
              contentEncoding: details.contentEncoding ?? undefined,
              contentDisposition: details.contentDisposition ?? undefined,
              cacheControl: details.cacheControl ?? undefined,
              storageTier: storageTierOf(details.storageTier),
              metadata: details.metadata ?? undefined,
            },
            checksums: [...wantedChecksums(request.headers)],
          },
          condition: writeCondition(request.headers),
        });
        const body = uploadBody(request.params, upload);
        reply.header('location', `${request.url}/${encodeURIComponent(key)}?uploadId=${upload.id}`);
        return body;
      },
    );
    app.get(
      '/n/:namespace/b/:bucket/u',
      { schema: { params: bucketParameters, querystring: pageQuery } },
      async (request, reply) => {
        const { limit, page } = request.query;
        const place = await bucketOfPath(tenancies, request);
        const listed = await uploads.list(place, { limit, startAfter: cursorOf(page) });
        return answerPage(reply, listed).map((upload) => uploadBody(request.params, upload));
      },
    );
    app.get(
      '/n/:namespace/b/:bucket/u/*',
      { schema: { params: uploadParameters, querystring: pageQuery.extend(uploadQuery.shape) } },
      async (request, reply) => {
        const { limit, page } = request.query;
        const cursor = cursorOf(page);
        const startAfterNumber = cursor === undefined ? undefined : Number(cursor);
        const listed = await uploads.listParts(await placeOf(request), { limit, startAfterNumber });
        return answerPage(reply, listed).map((part) => ({
          partNumber: part.partNumber,
          etag: part.etag,
          md5: part.checksums.md5 ?? '',
          size: part.lengthBytes,
        }));
      },
    );
    app.post(
      '/n/:namespace/b/:bucket/u/*',
      {
        bodyLimit: COMMIT_BODY_BYTES,
        schema: { params: uploadParameters, querystring: uploadQuery, body: commitDetails },
      },
      async (request, reply) => {
        const listed = listedParts(request.body);
        const condition = writeCondition(request.headers);
        await answerWritten(reply, await uploads.complete(await placeOf(request), listed, condition));
      },
    );
    app.delete(
      '/n/:namespace/b/:bucket/u/*',
      { schema: { params: uploadParameters, querystring: uploadQuery } },
      async (request, reply) => {
        await uploads.abort(await placeOf(request));
        await reply.status(204).send();
      },
    );
    await app.register(async (streaming) => {
      takeBodiesAsStreams(streaming);
      streaming.put(
        '/n/:namespace/b/:bucket/u/*',
        {
          bodyLimit: Number.MAX_SAFE_INTEGER,
          config: { unsignedBody: true },
          schema: {
            params: uploadParameters,
            querystring: uploadQuery.extend({ uploadPartNum: z.coerce.number() }),
          },
        },
        async (request, reply) => {
          const { uploadPartNum } = request.query as { uploadPartNum: number };
          await storePart(request, reply, uploads, await placeOf(request), uploadPartNum);
        },
      );
    });
  };
}

/** Stores the body of a PUT as a part, signed or by a pre-authenticated request. */
export async function storePart(
  request: FastifyRequest,
  reply: FastifyReply,
  uploads: Uploads,
  place: UploadPlace,
  partNumber: number,
): Promise<void> {
  const { headers } = request;
  requireNoCustomerKeys(headers);
  const part = await uploads.putPart(place, partNumber, requestBody(request), {
    expectedBytes: bodyHeaders(request, { keepsCoding: true }).expectedBytes,
    expected: expectedChecksums(headers),
    checksums: wantedChecksums(headers),
  });
  for (const [name, value] of Object.entries(headersOfChecksums(part.checksums))) {
    if (value !== undefined) reply.header(name, value);
  }
  await reply.status(200).header('etag', part.etag).send();
}

export function uploadBody(
  { namespace, bucket }: { readonly namespace: string; readonly bucket: string },
  upload: Upload,
): object {
  return {
    namespace,
    bucket,
    object: upload.key,
    uploadId: upload.id,
    timeCreated: new Date(upload.createdAtMs).toISOString(),
    storageTier: upload.storageTier ?? 'Standard',
  };
}

/** In ascending order: the SDK's upload manager lists parts as they were done. */
function listedParts({
  partsToCommit,
  partsToExclude,
}: z.infer<typeof commitDetails>): { partNumber: number; etag: string }[] {
  const excluded = new Set(partsToExclude ?? []);
  const both = partsToCommit.find(({ partNum }) => excluded.has(partNum));
  if (both !== undefined) {
    throw new DomainError('INVALID', `part ${both.partNum} is to be committed and to be excluded`, {
      subject: 'part',
    });
  }
  return partsToCommit
    .map(({ partNum, etag }) => ({ partNumber: partNum, etag: etag.replace(/^"(.*)"$/, '$1') }))
    .sort((a, b) => a.partNumber - b.partNumber);
}
