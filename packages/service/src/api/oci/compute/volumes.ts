import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { availabilityDomainOf } from '../../../domain/region.ts';
import type { Volume, VolumeAttachment } from '../../../domain/volumes.ts';
import { toJsonValue } from '../../../json.ts';
import { OciError } from '../errors.ts';
import { ifMatch } from '../if-match.ts';
import { compartmentId, compartmentOcid, idInPath, type OcidType, toOcid } from '../ocid.ts';
import { answerPage, cursorOf, pageQuery } from '../pages.ts';
import { retryOnce } from '../retry.ts';
import { sentTags, tagBody, tagFields } from '../tags.ts';
import { displayName, gigabytes, megabytes, time, workRequestId } from './common.ts';
import type { OciComputeParts } from './compute.ts';
import { definedOnly } from './images.ts';

const parameters = z.object({ volume: z.string() });
const attachmentParameters = z.object({ attachment: z.string() });
const volumesQuery = pageQuery.extend({
  compartmentId: z.string().optional(),
  availabilityDomain: z.string().optional(),
});
const attachmentsQuery = pageQuery.extend({
  compartmentId: z.string(),
  availabilityDomain: z.string().optional(),
  instanceId: z.string().optional(),
  volumeId: z.string().optional(),
  bootVolumeId: z.string().optional(),
});

type Kind = Volume['kind'];

/** OCI's volumes have at least 50 GB, and that is what one gets who does not say. */
const SIZE_GIGABYTES_MIN = 50;

interface VolumeKind {
  readonly kind: Kind;
  /** The last parts of the paths. */
  readonly volumes: string;
  readonly attachments: string;
  readonly ocid: OcidType;
  readonly attachmentOcid: OcidType;
}

const kinds: readonly VolumeKind[] = [
  {
    kind: 'boot',
    volumes: 'bootVolumes',
    attachments: 'bootVolumeAttachments',
    ocid: 'bootvolume',
    attachmentOcid: 'bootvolumeattachment',
  },
  {
    kind: 'block',
    volumes: 'volumes',
    attachments: 'volumeAttachments',
    ocid: 'volume',
    attachmentOcid: 'volumeattachment',
  },
];

/** Volumes, those that instances start from and others, and what they are attached to. */
export function volumeRoutes(parts: OciComputeParts): FastifyPluginAsyncZod {
  return async (app) => {
    for (const kind of kinds) await app.register(routesOf(parts, kind));
    await app.register(blockVolumeRoutes(parts));
  };
}

/** What both kinds have: each kind has its own paths and ids. */
function routesOf({ volumes, region }: OciComputeParts, of: VolumeKind): FastifyPluginAsyncZod {
  const volumeId = ({ volume }: z.infer<typeof parameters>) => idInPath([of.ocid], volume);
  return async (app) => {
    app.get(
      `/20160918/${of.volumes}`,
      { schema: { querystring: volumesQuery } },
      async ({ query, principal }, reply) => {
        const page = await volumes.list(principal, {
          kind: of.kind,
          compartmentId: query.compartmentId === undefined ? undefined : compartmentId(query.compartmentId),
          availabilityDomain: query.availabilityDomain,
          startAfter: cursorOf(query.page),
          limit: query.limit,
        });
        return answerPage(reply, page).map((volume) => toOciVolume(volume, region.name));
      },
    );
    app.get(
      `/20160918/${of.volumes}/:volume`,
      { schema: { params: parameters } },
      async ({ params, principal }, reply) => {
        const volume = await volumes.get(principal, volumeId(params));
        reply.header('etag', volume.etag);
        return toOciVolume(volume, region.name);
      },
    );
    app.delete(
      `/20160918/${of.volumes}/:volume`,
      { schema: { params: parameters } },
      async (request, reply) => {
        await volumes.delete(request.principal, volumeId(request.params), ifMatch(request));
        await reply.status(204).send();
      },
    );
    app.get(
      `/20160918/${of.attachments}`,
      { schema: { querystring: attachmentsQuery } },
      async ({ query, principal }, reply) => {
        const { instanceId } = query;
        const volume = of.kind === 'boot' ? query.bootVolumeId : query.volumeId;
        const page = await volumes.attachments(principal, {
          kind: of.kind,
          compartmentId: compartmentId(query.compartmentId),
          instanceId: instanceId === undefined ? undefined : idInPath(['instance'], instanceId),
          volumeId: volume === undefined ? undefined : idInPath(['volume', 'bootvolume'], volume),
          startAfter: cursorOf(query.page),
          limit: query.limit,
        });
        return answerPage(reply, page).map((attachment) => toOciAttachment(attachment, region.name));
      },
    );
    app.get(
      `/20160918/${of.attachments}/:attachment`,
      { schema: { params: attachmentParameters } },
      async ({ params, principal }, reply) => {
        const id = idInPath([of.attachmentOcid], params.attachment);
        const attachment = await volumes.attachment(principal, id);
        reply.header('etag', attachment.state);
        return toOciAttachment(attachment, region.name);
      },
    );
  };
}

const attachmentTypes = ['paravirtualized', 'iscsi', 'emulated', 'service_determined'] as const;

/** Making volumes, and attaching them to instances beside those that they start from. */
function blockVolumeRoutes(parts: OciComputeParts): FastifyPluginAsyncZod {
  const { volumes, attachments, idempotency, region } = parts;
  return async (app) => {
    app.post(
      '/20160918/volumes',
      {
        schema: {
          body: z.object({
            compartmentId: z.string(),
            availabilityDomain: z.string().nullish(),
            displayName: displayName.nullish(),
            sizeInGBs: z.coerce.number().int().min(1).max(32_768).nullish(),
            sizeInMBs: z.coerce.number().int().min(1).max(33_554_432).nullish(),
            sourceDetails: z.object({ type: z.string() }).nullish(),
            ...tagFields,
          }),
        },
      },
      (request, reply) =>
        retryOnce(idempotency, request, reply, 'CreateVolume', async () => {
          const sent = request.body;
          const here = availabilityDomainOf(region);
          if (sent.availabilityDomain != null && sent.availabilityDomain !== here)
            throw new OciError(
              400,
              'InvalidParameter',
              `${sent.availabilityDomain} is not here: this is ${here}`,
            );
          if (sent.sourceDetails != null)
            throw new OciError(501, 'NotImplemented', 'volumes here are made empty, or natively of images');
          const megabytesAsked = sent.sizeInMBs ?? (sent.sizeInGBs ?? SIZE_GIGABYTES_MIN) * 1024;
          const volume = await volumes.create(request.principal, {
            compartmentId: compartmentId(sent.compartmentId),
            availabilityDomain: here,
            name: sent.displayName ?? undefined,
            sizeBytes: megabytesAsked * 1024 ** 2,
            tags: definedOnly(sentTags(sent)),
          });
          const body = toJsonValue(toOciVolume(volume, region.name));
          return { statusCode: 200, body, headers: { etag: volume.etag } };
        }),
    );
    app.post(
      '/20160918/volumeAttachments',
      {
        schema: {
          body: z.object({
            type: z.enum(attachmentTypes),
            instanceId: z.string(),
            volumeId: z.string(),
            isReadOnly: z.boolean().nullish(),
            isShareable: z.boolean().nullish(),
          }),
        },
      },
      (request, reply) =>
        retryOnce(idempotency, request, reply, 'AttachVolume', async () => {
          const { type, instanceId, volumeId, isReadOnly, isShareable } = request.body;
          if (type === 'iscsi')
            throw new OciError(
              400,
              'InvalidParameter',
              'volumes are not attached by iSCSI here: send paravirtualized',
            );
          if (isReadOnly === true || isShareable === true)
            throw new OciError(
              400,
              'InvalidParameter',
              'volumes here are of one instance, to be read and written',
            );
          const { attachment, job } = await attachments.attach(
            request.principal,
            idInPath(['instance'], instanceId),
            idInPath(['volume', 'bootvolume'], volumeId),
          );
          const work = job === undefined ? undefined : workRequestId(region.name, job);
          const headers = { etag: attachment.state, 'opc-work-request-id': work };
          return { statusCode: 200, body: toJsonValue(toOciAttachment(attachment, region.name)), headers };
        }),
    );
    app.delete(
      '/20160918/volumeAttachments/:attachment',
      { schema: { params: attachmentParameters } },
      async ({ params, principal }, reply) => {
        const id = idInPath(['volumeattachment'], params.attachment);
        const { job } = await attachments.detach(principal, id);
        if (job !== undefined) reply.header('opc-work-request-id', workRequestId(region.name, job));
        await reply.status(204).send();
      },
    );
  };
}

function toOciVolume(volume: Volume, region: string) {
  return {
    id: toOcid(volume.kind === 'boot' ? 'bootvolume' : 'volume', region, volume.id),
    compartmentId: compartmentOcid(volume.compartmentId),
    displayName: volume.name,
    availabilityDomain: volume.availabilityDomain,
    lifecycleState: volume.state === 'available' ? 'AVAILABLE' : 'TERMINATED',
    sizeInMBs: megabytes(volume.sizeBytes),
    sizeInGBs: gigabytes(volume.sizeBytes),
    isHydrated: volume.isFilled,
    timeCreated: time(volume.createdAtMs),
    ...(volume.kind === 'boot' &&
      volume.imageId !== undefined && { imageId: toOcid('image', region, volume.imageId) }),
    ...tagBody(volume.tags),
  };
}

function toOciAttachment(attachment: VolumeAttachment, region: string) {
  const isBoot = attachment.kind === 'boot';
  return {
    id: toOcid(isBoot ? 'bootvolumeattachment' : 'volumeattachment', region, attachment.id),
    compartmentId: compartmentOcid(attachment.compartmentId),
    availabilityDomain: attachment.availabilityDomain,
    instanceId: toOcid('instance', region, attachment.instanceId),
    ...(isBoot
      ? { bootVolumeId: toOcid('bootvolume', region, attachment.volumeId) }
      : {
          attachmentType: 'paravirtualized',
          volumeId: toOcid('volume', region, attachment.volumeId),
          isReadOnly: false,
          isPvEncryptionInTransitEnabled: false,
        }),
    lifecycleState: attachment.state.toUpperCase(),
    timeCreated: time(attachment.createdAtMs),
  };
}
