import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Image, ImageState } from '../../../domain/image.ts';
import type { ViewSpec } from '../../../domain/view-spec.ts';
import type { Job } from '../../../jobs/job.ts';
import { toJsonValue } from '../../../json.ts';
import { OciError } from '../errors.ts';
import { ifMatch, requireMatch } from '../if-match.ts';
import { compartmentId, compartmentOcid, idInPath, toOcid } from '../ocid.ts';
import { answerPage, cursorOf } from '../pages.ts';
import { type OciAnswer, retryOnce } from '../retry.ts';
import { sentTags, tagBody } from '../tags.ts';
import { gigabytes, listQuery, megabytes, ordering, time, workRequestId } from './common.ts';
import type { OciComputeParts } from './compute.ts';
import {
  createImageBody,
  exportImageBody,
  requestedSource,
  requestedTarget,
  shownSource,
  updateImageBody,
} from './image-requests.ts';

const parameters = z.object({ image: z.string() });
const imagesQuery = listQuery.extend({
  operatingSystem: z.string().optional(),
  operatingSystemVersion: z.string().optional(),
  shape: z.string().optional(),
  lifecycleState: z.string().optional(),
});

/** Images of OCI's Compute service. */
export function imageRoutes(parts: OciComputeParts): FastifyPluginAsyncZod {
  const { images, imports, exports, captures, objectSources, idempotency, region } = parts;
  const imageBody = (image: Image) => toOciImage(image, region.name);
  return async (app) => {
    app.get(
      '/20160918/images',
      { schema: { querystring: imagesQuery } },
      async ({ query, principal }, reply) => {
        const page = await images.list(principal, {
          ...ordering(query),
          compartmentId: compartmentId(query.compartmentId),
          states: statesOf(query.lifecycleState),
          name: query.displayName,
          operatingSystem: query.operatingSystem,
          operatingSystemVersion: query.operatingSystemVersion,
          shape: query.shape,
          startAfter: cursorOf(query.page),
          limit: query.limit,
        });
        return answerPage(reply, page).map(imageBody);
      },
    );
    app.post('/20160918/images', { schema: { body: createImageBody } }, (request, reply) =>
      retryOnce(idempotency, request, reply, 'CreateImage', async () => {
        const job = await create(request.body);
        const { imageId } = job.input as { imageId: string };
        return started(await images.get(request.principal, imageId), job);

        async function create(body: z.infer<typeof createImageBody>): Promise<Job> {
          const home = compartmentId(body.compartmentId);
          const name = body.displayName ?? `image${time(Date.now()).replace(/\D/g, '').slice(0, 14)}`;
          const tags = sentTags(body);
          const { instanceId, imageSourceDetails: details } = body;
          if ((instanceId == null) === (details == null))
            throw new OciError(400, 'InvalidParameter', 'send either instanceId or imageSourceDetails');
          if (instanceId != null) {
            const { job } = await captures.start(request.principal, {
              instanceId: idInPath(['instance'], instanceId),
              compartmentId: home,
              name,
              // "When you create an image of a running instance, the instance shuts down … the instance restarts."
              reboot: true,
              tags: definedOnly(tags),
            });
            return job;
          }
          if (details == null) throw new TypeError('a source was sent');
          return imports.start(request.principal, {
            name,
            compartmentId: home,
            format: details.sourceImageType?.toLowerCase(),
            source: await requestedSource(objectSources, request, details),
            sentSource: shownSource(details),
            operatingSystem: details.operatingSystem ?? undefined,
            operatingSystemVersion: details.operatingSystemVersion ?? undefined,
            launchMode: body.launchMode ?? undefined,
            launchOptions: body.launchOptions ?? undefined,
            tags: definedOnly(tags),
          });
        }
      }),
    );
    app.get('/20160918/images/:image', { schema: { params: parameters } }, async (request, reply) => {
      const image = await images.get(request.principal, imageId(request.params));
      reply.header('etag', image.etag);
      return imageBody(image);
    });
    app.put(
      '/20160918/images/:image',
      { schema: { params: parameters, body: updateImageBody } },
      (request, reply) =>
        retryOnce(idempotency, request, reply, 'UpdateImage', async () => {
          const { body, principal, params } = request;
          const changes = {
            name: body.displayName ?? undefined,
            operatingSystem: body.operatingSystem ?? undefined,
            operatingSystemVersion: body.operatingSystemVersion ?? undefined,
            tags: definedOnly(sentTags(body)),
          };
          const image = await images.update(principal, imageId(params), changes, ifMatch(request));
          return answer(image);
        }),
    );
    app.delete('/20160918/images/:image', { schema: { params: parameters } }, async (request, reply) => {
      await images.delete(request.principal, imageId(request.params), ifMatch(request));
      await reply.status(204).send();
    });
    app.post(
      '/20160918/images/:image/actions/export',
      { schema: { params: parameters, body: exportImageBody } },
      (request, reply) =>
        retryOnce(idempotency, request, reply, 'ExportImage', async () => {
          const { body, principal, params } = request;
          const id = imageId(params);
          requireMatch(request, (await images.get(principal, id, 'read')).etag);
          const target = await requestedTarget(objectSources, request, body);
          const view: ViewSpec = { format: (body.exportFormat ?? 'OCI').toLowerCase(), options: {} };
          const job = await exports.start(principal, id, { view, target, materialize: false });
          return started(await images.get(principal, id), job);
        }),
    );
    app.post(
      '/20160918/images/:image/actions/changeCompartment',
      { schema: { params: parameters, body: z.object({ compartmentId: z.string() }) } },
      (request, reply) =>
        retryOnce(idempotency, request, reply, 'ChangeImageCompartment', async () => {
          const { body, principal, params } = request;
          const home = compartmentId(body.compartmentId);
          const { etag } = await images.move(principal, imageId(params), home, ifMatch(request));
          return { statusCode: 200, body: null, headers: { etag } };
        }),
    );
  };

  function answer(image: Image): OciAnswer {
    return { statusCode: 200, body: toJsonValue(imageBody(image)), headers: { etag: image.etag } };
  }

  function started(image: Image, job: Job): OciAnswer {
    const headers = { etag: image.etag, 'opc-work-request-id': workRequestId(region.name, job) };
    return { ...answer(image), headers };
  }
}

function imageId({ image }: z.infer<typeof parameters>): string {
  return idInPath(['image'], image);
}

const states: Readonly<Record<string, ImageState>> = {
  PROVISIONING: 'provisioning',
  IMPORTING: 'importing',
  AVAILABLE: 'available',
  EXPORTING: 'exporting',
  DELETED: 'deleted',
};

/** Deleted images are listed only where they are asked for. */
function statesOf(asked: string | undefined): readonly ImageState[] {
  if (asked === undefined) return Object.values(states).filter((state) => state !== 'deleted');
  const state = Object.hasOwn(states, asked) ? states[asked] : undefined;
  if (state !== undefined) return [state];
  // Images here are never DISABLED.
  if (asked === 'DISABLED') return [];
  throw new OciError(400, 'InvalidParameter', `${JSON.stringify(asked)} is no lifecycle state of images`);
}

/** Without the kinds of tags that were not sent. */
export function definedOnly<Tags extends object>(
  tags: Tags,
): { readonly [Name in keyof Tags]?: NonNullable<Tags[Name]> } {
  return Object.fromEntries(Object.entries(tags).filter(([, value]) => value !== undefined)) as {
    readonly [Name in keyof Tags]?: NonNullable<Tags[Name]>;
  };
}

function toOciImage(image: Image, region: string) {
  const { content, launchOptions, baseImageId, source } = image;
  const { launchMode: _, ...devices } = launchOptions ?? {};
  return {
    id: toOcid('image', region, image.id),
    compartmentId: compartmentOcid(image.compartmentId),
    displayName: image.name,
    lifecycleState: image.state.toUpperCase(),
    operatingSystem: image.operatingSystem === '' ? 'Custom' : image.operatingSystem,
    operatingSystemVersion: image.operatingSystemVersion === '' ? 'Custom' : image.operatingSystemVersion,
    createImageAllowed: image.kind !== 'marketplace',
    listingType: 'NONE',
    agentFeatures: { isMonitoringSupported: false, isManagementSupported: false },
    timeCreated: time(image.createdAtMs),
    ...(baseImageId !== undefined && { baseImageId: toOcid('image', region, baseImageId) }),
    ...(image.launchMode !== undefined && { launchMode: image.launchMode }),
    ...(launchOptions !== undefined && { launchOptions: devices }),
    ...(content !== undefined && {
      sizeInMBs: megabytes(content.virtualSizeBytes),
      billableSizeInGBs: gigabytes(content.virtualSizeBytes),
    }),
    // Not in OCI's answers: what was sent, for tools that compare it with what they sent.
    ...(source !== undefined && { imageSourceDetails: source }),
    ...tagBody(image.tags),
  };
}
