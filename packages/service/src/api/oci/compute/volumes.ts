import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Volume, VolumeAttachment } from '../../../domain/volumes.ts';
import { ifMatch } from '../if-match.ts';
import { compartmentId, compartmentOcid, idInPath, toOcid } from '../ocid.ts';
import { answerPage, cursorOf, pageQuery } from '../pages.ts';
import { tagBody } from '../tags.ts';
import { gigabytes, megabytes, time } from './common.ts';
import type { OciComputeParts } from './compute.ts';

const parameters = z.object({ volume: z.string() });
const attachmentParameters = z.object({ attachment: z.string() });
const attachmentsQuery = pageQuery.extend({
  compartmentId: z.string(),
  availabilityDomain: z.string().optional(),
  instanceId: z.string().optional(),
  bootVolumeId: z.string().optional(),
});

/** Boot volumes and what they are attached to. */
export function volumeRoutes({ volumes, region }: OciComputeParts): FastifyPluginAsyncZod {
  return async (app) => {
    app.get(
      '/20160918/bootVolumes',
      {
        schema: {
          querystring: pageQuery.extend({
            compartmentId: z.string().optional(),
            availabilityDomain: z.string().optional(),
          }),
        },
      },
      async ({ query, principal }, reply) => {
        const page = await volumes.list(principal, {
          compartmentId: query.compartmentId === undefined ? undefined : compartmentId(query.compartmentId),
          availabilityDomain: query.availabilityDomain,
          startAfter: cursorOf(query.page),
          limit: query.limit,
        });
        return answerPage(reply, page).map((volume) => toOciVolume(volume, region.name));
      },
    );
    app.get('/20160918/bootVolumes/:volume', { schema: { params: parameters } }, async (request, reply) => {
      const { params, principal } = request;
      const volume = await volumes.get(principal, idInPath(['bootvolume'], params.volume));
      reply.header('etag', volume.etag);
      return toOciVolume(volume, region.name);
    });
    app.delete(
      '/20160918/bootVolumes/:volume',
      { schema: { params: parameters } },
      async (request, reply) => {
        const { params, principal } = request;
        await volumes.delete(principal, idInPath(['bootvolume'], params.volume), ifMatch(request));
        await reply.status(204).send();
      },
    );
    app.get(
      '/20160918/bootVolumeAttachments',
      { schema: { querystring: attachmentsQuery } },
      async ({ query, principal }, reply) => {
        const { instanceId, bootVolumeId } = query;
        const page = await volumes.attachments(principal, {
          compartmentId: compartmentId(query.compartmentId),
          instanceId: instanceId === undefined ? undefined : idInPath(['instance'], instanceId),
          volumeId: bootVolumeId === undefined ? undefined : idInPath(['bootvolume'], bootVolumeId),
          startAfter: cursorOf(query.page),
          limit: query.limit,
        });
        return answerPage(reply, page).map((attachment) => toOciAttachment(attachment, region.name));
      },
    );
    app.get(
      '/20160918/bootVolumeAttachments/:attachment',
      { schema: { params: attachmentParameters } },
      async ({ params, principal }, reply) => {
        const id = idInPath(['bootvolumeattachment'], params.attachment);
        const attachment = await volumes.attachment(principal, id);
        reply.header('etag', attachment.isAttached ? 'v1' : 'v2');
        return toOciAttachment(attachment, region.name);
      },
    );
    // Instances here have no other volumes than the one that they start from.
    app.get(
      '/20160918/volumeAttachments',
      { schema: { querystring: pageQuery.extend({ compartmentId: z.string() }) } },
      async ({ query }) => {
        compartmentId(query.compartmentId);
        return [];
      },
    );
  };
}

function toOciVolume(volume: Volume, region: string) {
  return {
    id: toOcid('bootvolume', region, volume.id),
    compartmentId: compartmentOcid(volume.compartmentId),
    displayName: volume.name,
    availabilityDomain: volume.availabilityDomain,
    lifecycleState: volume.state === 'available' ? 'AVAILABLE' : 'TERMINATED',
    sizeInMBs: megabytes(volume.sizeBytes),
    sizeInGBs: gigabytes(volume.sizeBytes),
    isHydrated: true,
    timeCreated: time(volume.createdAtMs),
    ...(volume.imageId !== undefined && { imageId: toOcid('image', region, volume.imageId) }),
    ...tagBody(volume.tags),
  };
}

function toOciAttachment(attachment: VolumeAttachment, region: string) {
  return {
    id: toOcid('bootvolumeattachment', region, attachment.id),
    compartmentId: compartmentOcid(attachment.compartmentId),
    availabilityDomain: attachment.availabilityDomain,
    instanceId: toOcid('instance', region, attachment.instanceId),
    bootVolumeId: toOcid('bootvolume', region, attachment.volumeId),
    lifecycleState: attachment.isAttached ? 'ATTACHED' : 'DETACHED',
    timeCreated: time(attachment.createdAtMs),
  };
}
