import type { FastifyRequest } from 'fastify';
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { DomainError } from '../../domain/errors.ts';
import { hardwareCompatibility } from '../../domain/hardware-compatibility.ts';
import type { Image, StoredImage } from '../../domain/image.ts';
import type { ImageExports } from '../../domain/image-exports.ts';
import type { ImageImports, ImportRequest } from '../../domain/image-imports.ts';
import type { Images } from '../../domain/images.ts';
import { launchModes, launchOptionsInput } from '../../domain/launch-options.ts';
import type { ObjectSources } from '../../domain/object-sources.ts';
import type { StreamImports } from '../../domain/stream-import.ts';
import { compression, type ViewSpec } from '../../domain/view-spec.ts';
import type { Idempotency } from '../../jobs/idempotency.ts';
import { CONNECTION_IDLE_MS } from '../http/connections.ts';
import { bodyHeaders, requestBody, takeBodiesAsStreams } from '../http/request-body.ts';
import { sendSource } from '../http/send-source.ts';
import { errorBody } from './errors.ts';
import { idempotently } from './idempotency.ts';
import { jobBody, startedJobBody, toJobBody } from './job-schema.ts';
import { listingQuery, pageBody } from './listing.ts';
import type { Principal } from './principal.ts';
import { definedTags, freeformTags, resourceName, sentTags } from './resource-fields.ts';

const imageBody = z.object({
  id: z.string(),
  name: z.string(),
  sourceFormat: z.string().describe('Format of the file that it was imported from'),
  virtualSizeBytes: z.number().int(),
  diskDigest: z.string().describe('Digest of what the guest sees, the same in every format'),
  createdAtMs: z.number().int(),
  details: z.json().describe('What the headers of the imported file said'),
  state: z.enum(['available', 'exporting']),
  kind: z.enum(['custom', 'platform', 'marketplace']),
  compartmentId: z.string(),
  baseImageId: z.string().nullable().describe('Image of the instance that it was made of'),
  operatingSystem: z.string().describe('Empty while nobody has said it'),
  operatingSystemVersion: z.string(),
  launchMode: z.string().nullable(),
  launchOptions: z.json().describe('Devices and firmware, in the words of OCI'),
  capturedAtMs: z.number().int().nullable().describe('Of an image of an instance: its point in time'),
  consistency: z
    .enum(['shutdown', 'agent', 'crash'])
    .nullable()
    .describe('How the disk was then: shut down, with frozen file systems, or as after a loss of power'),
  captureId: z.string().nullable().describe('The same for all images of one point in time'),
  freeformTags: z.record(z.string(), z.string()),
  definedTags: z.json(),
});
const imageParameters = z.object({ imageId: z.string() });
const importSource = z.union([
  z.strictObject({ bucket: z.string(), key: z.string() }),
  z.strictObject({ url: z.url({ protocol: /^https?$/ }) }),
]);

/** Which disk is meant, in files that hold more than one. */
const chosen = {
  member: z.string().min(1).max(1024).optional().describe('Disk of an OVA or .oci that holds several'),
  snapshot: z
    .string()
    .min(1)
    .max(1024)
    .optional()
    .describe('Internal snapshot in place of the present state'),
};
const systemName = z.string().max(255).optional();
const importBody = z.object({
  name: resourceName,
  format: z.string().optional(),
  ...chosen,
  source: importSource,
  compartmentId: z.string().optional().describe("By default the tenancy's root"),
  kind: z
    .enum(['custom', 'platform', 'marketplace'])
    .optional()
    .describe('Others than custom: administrators'),
  operatingSystem: systemName,
  operatingSystemVersion: systemName,
  launchMode: z.enum(launchModes).optional(),
  launchOptions: launchOptionsInput.optional().describe('With launchMode CUSTOM'),
  freeformTags,
  definedTags,
});
const changesBody = z.object({
  name: resourceName.optional(),
  operatingSystem: systemName,
  operatingSystemVersion: systemName,
  freeformTags,
  definedTags,
});
const compatibility = z.enum(['yes', 'kernel', 'no', 'unknown']);

const viewParameters = imageParameters.extend({ format: z.string() });
const viewQuery = z
  .record(z.string(), z.string())
  .describe("compression, and the format's options by name, such as cluster_size or subformat");

export interface ImageRouteParts {
  readonly images: Images;
  readonly imports: ImageImports;
  readonly exports: ImageExports;
  readonly streamImports: StreamImports;
  readonly objectSources: ObjectSources;
  readonly idempotency: Idempotency;
}

/** Images: list, show, delete, import, export, and every format of them as a file. */
export function imageRoutes(parts: ImageRouteParts): FastifyPluginAsyncZod {
  const { images, imports, exports, streamImports, objectSources, idempotency } = parts;
  return async (app) => {
    app.get(
      '/images',
      {
        schema: {
          summary: 'List images, newest first',
          tags: ['images'],
          querystring: listingQuery.extend({
            name: z.string().optional().describe('Only images of this name'),
          }),
          response: { 200: pageBody(imageBody), default: errorBody },
        },
      },
      async ({ query, principal }) => {
        const page = await images.list(principal, query);
        return { items: page.items.filter(isStored).map(toImageBody), nextStartAfter: page.next ?? null };
      },
    );
    app.get(
      '/images/:imageId',
      {
        schema: {
          summary: 'Show an image',
          tags: ['images'],
          params: imageParameters,
          response: { 200: imageBody, default: errorBody },
        },
      },
      async ({ params, principal }) => toImageBody(await images.stored(principal, params.imageId)),
    );
    app.delete(
      '/images/:imageId',
      {
        schema: {
          summary: 'Delete an image; objects that show it stay whole',
          tags: ['images'],
          params: imageParameters,
          response: { 204: z.null(), default: errorBody },
        },
      },
      async ({ params, principal }, reply) => {
        await images.delete(principal, params.imageId);
        await reply.status(204).send(null);
      },
    );
    app.patch(
      '/images/:imageId',
      {
        schema: {
          summary: 'Change what is said of an image',
          tags: ['images'],
          params: imageParameters,
          body: changesBody,
          response: { 200: imageBody, default: errorBody },
        },
      },
      async ({ params, principal, body }) => {
        const { freeformTags: _, definedTags: __, ...changes } = body;
        const tags = sentTags(body);
        await images.stored(principal, params.imageId);
        await images.update(principal, params.imageId, { ...changes, tags });
        return toImageBody(await images.stored(principal, params.imageId));
      },
    );
    app.get(
      '/hardware-compatibility',
      {
        schema: {
          summary: "Whether a system's images run on other generations of Oracle's hardware",
          tags: ['images'],
          querystring: z.object({
            operatingSystem: z.string(),
            operatingSystemVersion: z.string().optional(),
          }),
          response: {
            200: z.object({
              x5OnX7: compatibility.describe('An image made on X5 hosts, on X7 ones'),
              x6Elsewhere: compatibility.describe('An image made on X6 hosts, on any others'),
              advice: z.array(z.string()),
            }),
            default: errorBody,
          },
        },
      },
      async ({ query }) => {
        const { operatingSystem: name, operatingSystemVersion: version } = query;
        const { advice, ...answers } = hardwareCompatibility({ name, ...(version && { version }) });
        return { ...answers, advice: [...advice] };
      },
    );
    app.post(
      '/images',
      {
        schema: {
          summary: 'Start to import an image from an object or an address',
          tags: ['images'],
          body: importBody,
          response: { 202: startedJobBody, default: errorBody },
        },
      },
      (request, reply) =>
        idempotently(idempotency, request, reply, async () => ({
          statusCode: 202,
          body: {
            job: toJobBody(await imports.start(request.principal, await importOf(objectSources, request))),
          },
        })),
    );
    app.post(
      '/images/:imageId/exports',
      {
        schema: {
          summary: 'Start to export an image to a bucket, as a view where the format has an exact length',
          tags: ['images'],
          params: imageParameters,
          body: z.object({
            format: z.string(),
            options: z.record(z.string(), z.string()).default({}),
            compression: compression.optional(),
            bucket: z.string(),
            key: z.string(),
            materialize: z.boolean().default(false).describe('Store the bytes instead of a view'),
          }),
          response: { 202: startedJobBody, default: errorBody },
        },
      },
      (request, reply) =>
        idempotently(idempotency, request, reply, async () => {
          const { format, options, compression: wanted, bucket, key, materialize } = request.body;
          const view: ViewSpec = { format, options, ...(wanted && { compression: wanted }) };
          const { imageId } = request.params;
          const target = { kind: 'object', bucket, key } as const;
          const job = await exports.start(request.principal, imageId, { view, target, materialize });
          return { statusCode: 202, body: { job: toJobBody(job) } };
        }),
    );
    app.route({
      method: ['GET', 'HEAD'],
      url: '/images/:imageId/as/:format',
      exposeHeadRoute: false,
      schema: {
        summary: 'An image as a file of a format: exact length, any range',
        tags: ['images'],
        params: viewParameters,
        querystring: viewQuery,
        produces: ['application/octet-stream'],
      },
      async handler(request, reply) {
        const { imageId, format } = request.params;
        const spec = requestedView(format, request.query);
        const { source, etag, image } = await images.view(request.principal, imageId, spec);
        const fileName = encodeURIComponent(`${image.name}.${format}`);
        reply.header('content-disposition', `attachment; filename*=UTF-8''${fileName}`);
        return sendSource(request, reply, source, { etag, lastModifiedMs: image.createdAtMs });
      },
    });
    await app.register(streamRoute(streamImports));
  };
}

/** Apart from the others, since its body is the image itself. */
function streamRoute(streamImports: StreamImports): FastifyPluginAsyncZod {
  return async (app) => {
    takeBodiesAsStreams(app);
    app.post(
      '/images/stream',
      {
        bodyLimit: Number.MAX_SAFE_INTEGER,
        schema: {
          summary: 'Import an image from the body of this request, decoded while it arrives',
          tags: ['images'],
          querystring: z.object({
            name: resourceName,
            format: z.string(),
            ...chosen,
            compartmentId: z.string().optional(),
          }),
          response: {
            201: z.object({ job: jobBody, image: imageBody }),
            default: errorBody,
          },
        },
      },
      async (request, reply) => {
        request.raw.socket.setTimeout(0);
        const { job, image } = await streamImports.run(request.principal, {
          ...request.query,
          body: bodyWithPatience(request),
          lengthBytes: requireLength(request),
        });
        reply.status(201);
        return { job: toJobBody(job), image: toImageBody(image) };
      },
    );
  };
}

/**
 * The body. The sender's silence ends the request while the body is read, but neither while the job waits for its
 * turn, nor while what was stored is read back.
 */
async function* bodyWithPatience(request: FastifyRequest): AsyncGenerator<Uint8Array, void, undefined> {
  const { socket } = request.raw;
  socket.setTimeout(CONNECTION_IDLE_MS);
  yield* requestBody(request);
  socket.setTimeout(0);
}

/** Throws INVALID for a compression that there is not; the format itself judges its options. */
function requestedView(format: string, query: Readonly<Record<string, string>>): ViewSpec {
  const { compression: wanted, ...options } = query;
  if (wanted === undefined) return { format, options };
  const known = compression.safeParse(wanted);
  if (known.success) return { format, options, compression: known.data };
  throw new DomainError('INVALID', `compression cannot be ${JSON.stringify(wanted)}`, {
    hint: `use one of ${compression.options.join(', ')}`,
  });
}

async function importOf(
  sources: ObjectSources,
  { body, principal, host }: { body: z.infer<typeof importBody>; principal: Principal; host: string },
): Promise<ImportRequest> {
  const { source, freeformTags: _, definedTags: __, ...named } = body;
  const request = { ...named, tags: sentTags(body) };
  if (!('url' in source)) return { ...request, source: { kind: 'object', ...source } };
  const own = await sources.ownAddress(principal, new URL(source.url), [host], 'read');
  return { ...request, source: own ?? { kind: 'url', url: source.url } };
}

function requireLength(request: FastifyRequest): number {
  const { expectedBytes } = bodyHeaders(request);
  if (expectedBytes !== undefined && !Number.isSafeInteger(expectedBytes)) {
    throw new DomainError('TOO_LARGE', `${expectedBytes} bytes are more than any image has`);
  }
  if (expectedBytes !== undefined) return expectedBytes;
  throw new DomainError('INVALID', 'an image that is streamed in needs a Content-Length', {
    hint: 'send the length, or put the image into a bucket and import it from there',
  });
}

function isStored(image: Image): image is StoredImage {
  return image.content !== undefined;
}

function toImageBody(image: StoredImage): z.infer<typeof imageBody> {
  const { content, tags, baseImageId, launchMode, launchOptions } = image;
  return imageBody.parse({
    ...image,
    ...content,
    baseImageId: baseImageId ?? null,
    launchMode: launchMode ?? null,
    launchOptions: launchOptions ?? null,
    capturedAtMs: image.capture?.takenAtMs ?? null,
    consistency: image.capture?.consistency ?? null,
    captureId: image.capture?.id ?? null,
    freeformTags: tags.freeform,
    definedTags: tags.defined,
  });
}
