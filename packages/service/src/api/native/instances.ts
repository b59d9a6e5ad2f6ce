import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { DomainError } from '../../domain/errors.ts';
import type { ImageCaptures } from '../../domain/image-captures.ts';
import { instanceStateNames } from '../../domain/instance.ts';
import type { LaunchSource } from '../../domain/instance-launch.ts';
import { instanceActions } from '../../domain/instance-power.ts';
import type { Instances } from '../../domain/instances.ts';
import { launchOptionsInput } from '../../domain/launch-options.ts';
import { availabilityDomainOf, type Region } from '../../domain/region.ts';
import type { VolumeAttachments } from '../../domain/volume-attachments.ts';
import type { Volumes } from '../../domain/volumes.ts';
import type { Idempotency } from '../../jobs/idempotency.ts';
import { errorBody } from './errors.ts';
import { idempotently } from './idempotency.ts';
import {
  attachmentJobBody,
  instanceBody,
  instanceWithVolumesBody,
  startedInstanceJobBody,
  toAttachedVolumeBody,
  toAttachmentJobBody,
  toInstanceBody,
} from './instance-schema.ts';
import { startedJobBody, toJobBody } from './job-schema.ts';
import { listingQuery, pageBody } from './listing.ts';
import { definedTags, freeformTags, resourceName, sentTags } from './resource-fields.ts';

export const instanceParameters = z.object({ instanceId: z.string() });
const shapeConfig = z
  .strictObject({ ocpus: z.number().optional(), memoryInGBs: z.number().optional() })
  .optional()
  .describe('Of a flexible shape');
const metadata = z.record(z.string(), z.string());

const launchBody = z.object({
  name: resourceName.optional(),
  imageId: z.string().optional(),
  volumeId: z.string().optional().describe('A boot volume that is there, in place of an image'),
  volumeSizeBytes: z
    .number()
    .int()
    .min(1)
    .optional()
    .describe("Of the boot volume; by default the image's own"),
  compartmentId: z.string().optional().describe("By default the tenancy's root"),
  shape: z.string().optional().describe('By default the first that the service has'),
  shapeConfig,
  launchOptions: launchOptionsInput.optional().describe('Over those of the image'),
  metadata: metadata.default({}),
  materialize: z
    .boolean()
    .default(false)
    .describe('Copy the whole disk before the start, instead of meanwhile'),
  freeformTags,
  definedTags,
});
const changesBody = z.object({
  name: resourceName.optional(),
  shape: z.string().optional(),
  shapeConfig,
  metadata: metadata.optional(),
  freeformTags,
  definedTags,
});
const actionBody = z.object({
  action: z.enum(instanceActions),
  graceSeconds: z
    .number()
    .min(0)
    .max(86_400)
    .optional()
    .describe('How long softstop and softreset let the guest end by itself; by default 15 minutes'),
});
const captureBody = z.object({
  name: resourceName,
  compartmentId: z.string().optional().describe('By default that of the instance'),
  reboot: z
    .boolean()
    .default(false)
    .describe('Whether the guest may be restarted for it, so that its disk is as after a shutdown'),
  allVolumes: z.boolean().default(false).describe('An image of each volume, of one point in time'),
  freeformTags,
  definedTags,
});

export interface InstanceRouteParts {
  readonly instances: Instances;
  readonly volumes: Volumes;
  readonly attachments: VolumeAttachments;
  readonly captures: ImageCaptures;
  readonly region: Region;
  readonly idempotency: Idempotency;
}

/** Instances: launch, list, show, change, power, terminate, and images of them. */
export function instanceRoutes(parts: InstanceRouteParts): FastifyPluginAsyncZod {
  const { instances, volumes, attachments, captures, region, idempotency } = parts;
  return async (app) => {
    app.get(
      '/instances',
      {
        schema: {
          summary: 'List instances, newest first; terminated ones for a day',
          tags: ['instances'],
          querystring: listingQuery.extend({
            name: z.string().optional().describe('Only instances of this name'),
            state: z.enum(instanceStateNames).optional(),
          }),
          response: { 200: pageBody(instanceBody), default: errorBody },
        },
      },
      async ({ query, principal }) => {
        const page = await instances.list(principal, query);
        return { items: page.items.map(toInstanceBody), nextStartAfter: page.next ?? null };
      },
    );
    app.post(
      '/instances',
      {
        schema: {
          summary: 'Launch an instance of an image, or of a boot volume',
          tags: ['instances'],
          body: launchBody,
          response: { 202: startedInstanceJobBody, default: errorBody },
        },
      },
      (request, reply) =>
        idempotently(idempotency, request, reply, async () => {
          const { principal, body } = request;
          const { instance, job } = await instances.launch(principal, {
            compartmentId: body.compartmentId ?? principal.tenancyId,
            availabilityDomain: availabilityDomainOf(region),
            name: body.name,
            shape: body.shape,
            shapeConfig: body.shapeConfig,
            source: sourceOf(body),
            launchOptions: body.launchOptions,
            metadata: body.metadata,
            materialize: body.materialize,
            tags: sentTags(body),
          });
          return { statusCode: 202, body: { instance: toInstanceBody(instance), job: toJobBody(job) } };
        }),
    );
    app.get(
      '/instances/:instanceId',
      {
        schema: {
          summary: 'Show an instance with its volumes',
          tags: ['instances'],
          params: instanceParameters,
          response: { 200: instanceWithVolumesBody, default: errorBody },
        },
      },
      async ({ params, principal }) => {
        const { instanceId } = params;
        const instance = await instances.get(principal, instanceId);
        const attached = await volumes.attachedTo(principal, instanceId);
        return { ...toInstanceBody(instance), volumes: attached.map(toAttachedVolumeBody) };
      },
    );
    app.patch(
      '/instances/:instanceId',
      {
        schema: {
          summary: 'Change what is said of an instance; its shape only while it is stopped',
          tags: ['instances'],
          params: instanceParameters,
          body: changesBody,
          response: { 200: instanceBody, default: errorBody },
        },
      },
      async ({ params, principal, body }) => {
        const { freeformTags: _, definedTags: __, ...changes } = body;
        const changed = await instances.update(principal, params.instanceId, {
          ...changes,
          tags: sentTags(body),
        });
        return toInstanceBody(changed.instance);
      },
    );
    app.delete(
      '/instances/:instanceId',
      {
        schema: {
          summary: 'Terminate an instance; its boot volume goes with it unless it is to be kept',
          tags: ['instances'],
          params: instanceParameters,
          querystring: z.object({ keepBootVolume: z.stringbool().default(false) }),
          response: { 202: startedJobBody, default: errorBody },
        },
      },
      async ({ params, query, principal }, reply) => {
        const options = { keepsBootVolume: query.keepBootVolume };
        const job = await instances.terminate(principal, params.instanceId, options);
        return reply.status(202).send({ job: toJobBody(job) });
      },
    );
    app.post(
      '/instances/:instanceId/actions',
      {
        schema: {
          summary: 'Start, stop or reset an instance',
          tags: ['instances'],
          params: instanceParameters,
          body: actionBody,
          response: { 202: startedInstanceJobBody, default: errorBody },
        },
      },
      (request, reply) =>
        idempotently(idempotency, request, reply, async () => {
          const { principal, params, body } = request;
          const graceMs = body.graceSeconds === undefined ? undefined : body.graceSeconds * 1000;
          const { instance, job } = await instances.act(principal, params.instanceId, body.action, {
            graceMs,
          });
          return { statusCode: 202, body: { instance: toInstanceBody(instance), job: toJobBody(job) } };
        }),
    );
    app.post(
      '/instances/:instanceId/images',
      {
        schema: {
          summary: 'Make an image of an instance as it is now, while it goes on',
          tags: ['instances'],
          params: instanceParameters,
          body: captureBody,
          response: {
            202: startedJobBody.extend({ imageIds: z.array(z.string()) }),
            default: errorBody,
          },
        },
      },
      (request, reply) =>
        idempotently(idempotency, request, reply, async () => {
          const { principal, params, body } = request;
          const { instanceId } = params;
          const { compartmentId } = await instances.get(principal, instanceId);
          const { job, imageIds } = await captures.start(principal, {
            instanceId,
            compartmentId: body.compartmentId ?? compartmentId,
            name: body.name,
            reboot: body.reboot,
            allVolumes: body.allVolumes,
            tags: sentTags(body),
          });
          return { statusCode: 202, body: { job: toJobBody(job), imageIds: [...imageIds] } };
        }),
    );
    app.post(
      '/instances/:instanceId/volumes',
      {
        schema: {
          summary: 'Attach a volume, while the instance runs too',
          tags: ['instances'],
          params: instanceParameters,
          body: z.object({ volumeId: z.string() }),
          response: { 202: attachmentJobBody, default: errorBody },
        },
      },
      (request, reply) =>
        idempotently(idempotency, request, reply, async () => {
          const { principal, params, body } = request;
          const change = await attachments.attach(principal, params.instanceId, body.volumeId);
          return { statusCode: 202, body: toAttachmentJobBody(change) };
        }),
    );
    app.delete(
      '/instances/:instanceId/volumes/:volumeId',
      {
        schema: {
          summary: 'Detach a volume, while the instance runs too; the guest has to let go of it',
          tags: ['instances'],
          params: instanceParameters.extend({ volumeId: z.string() }),
          response: { 202: attachmentJobBody, default: errorBody },
        },
      },
      async ({ params, principal }, reply) => {
        const { instanceId, volumeId } = params;
        const attached = await volumes.attachedTo(principal, instanceId);
        const found = attached.find((each) => each.volumeId === volumeId);
        if (found === undefined)
          throw new DomainError('NOT_FOUND', `the instance ${instanceId} has no volume ${volumeId}`);
        const change = await attachments.detach(principal, found.id);
        return reply.status(202).send(toAttachmentJobBody(change));
      },
    );
  };
}

/** Throws INVALID unless there is one of the two. */
function sourceOf({ imageId, volumeId, volumeSizeBytes }: z.infer<typeof launchBody>): LaunchSource {
  if (imageId !== undefined && volumeId === undefined)
    return { kind: 'image', imageId, bootVolumeBytes: volumeSizeBytes };
  if (volumeId !== undefined && imageId === undefined) return { kind: 'bootVolume', volumeId };
  throw new DomainError('INVALID', 'an instance is launched of an image or of a boot volume', {
    hint: 'send either imageId or volumeId',
  });
}
