import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { LaunchSource } from '../../../domain/instance-launch.ts';
import { type InstanceAction, instanceActions } from '../../../domain/instance-power.ts';
import type { Instance } from '../../../domain/instances.ts';
import { launchOptionsInput } from '../../../domain/launch-options.ts';
import { availabilityDomainOf } from '../../../domain/region.ts';
import { toJsonValue } from '../../../json.ts';
import { OciError } from '../errors.ts';
import { ifMatch } from '../if-match.ts';
import { compartmentId, compartmentOcid, idInPath, toOcid } from '../ocid.ts';
import { answerPage, cursorOf, pageQuery } from '../pages.ts';
import { retryOnce } from '../retry.ts';
import { sentTags, tagBody, tagFields } from '../tags.ts';
import { displayName, listQuery, ordering, time, workRequestId } from './common.ts';
import type { OciComputeParts } from './compute.ts';
import { definedOnly } from './images.ts';

const parameters = z.object({ instance: z.string() });
const metadata = z.record(z.string(), z.string()).nullish();
const shapeConfig = z.object({ ocpus: z.number().optional(), memoryInGBs: z.number().optional() }).nullish();
const launchBody = z.object({
  availabilityDomain: z.string().min(1).max(255),
  compartmentId: z.string(),
  displayName: displayName.nullish(),
  shape: z.string().nullish(),
  shapeConfig,
  /** The older form of a source. */
  imageId: z.string().nullish(),
  sourceDetails: z
    .discriminatedUnion('sourceType', [
      z.object({
        sourceType: z.literal('image'),
        imageId: z.string(),
        bootVolumeSizeInGBs: z.number().int().min(1).max(32_768).nullish(),
      }),
      z.object({ sourceType: z.literal('bootVolume'), bootVolumeId: z.string() }),
    ])
    .nullish(),
  launchOptions: launchOptionsInput.nullish(),
  metadata,
  ...tagFields,
});

/** OCI's boot volumes are no smaller, where nobody says their size. */
const BOOT_VOLUME_BYTES_MIN: number = 50 * 1024 ** 3;

/** Instances of OCI's Compute service. */
export function instanceRoutes(parts: OciComputeParts): FastifyPluginAsyncZod {
  const { instances, idempotency, region } = parts;
  const body = (instance: Instance) => toOciInstance(instance, region.name);
  const requireAvailabilityDomain = (name: string) => {
    const own = availabilityDomainOf(region);
    if (name === own) return;
    throw new OciError(400, 'InvalidParameter', `${JSON.stringify(name)} is not here: this is ${own}`);
  };
  return async (app) => {
    app.get(
      '/20160918/instances',
      {
        schema: {
          querystring: listQuery.extend({
            availabilityDomain: z.string().optional(),
            lifecycleState: z.string().optional(),
          }),
        },
      },
      async ({ query, principal }, reply) => {
        const page = await instances.list(principal, {
          ...ordering(query),
          compartmentId: compartmentId(query.compartmentId),
          name: query.displayName,
          availabilityDomain: query.availabilityDomain,
          state: query.lifecycleState,
          startAfter: cursorOf(query.page),
          limit: query.limit,
        });
        return answerPage(reply, page).map(body);
      },
    );
    app.post('/20160918/instances', { schema: { body: launchBody } }, (request, reply) =>
      retryOnce(idempotency, request, reply, 'LaunchInstance', async () => {
        const sent = request.body;
        requireAvailabilityDomain(sent.availabilityDomain);
        const { instance, job } = await instances.launch(request.principal, {
          compartmentId: compartmentId(sent.compartmentId),
          availabilityDomain: sent.availabilityDomain,
          name: sent.displayName ?? undefined,
          shape: sent.shape ?? undefined,
          shapeConfig: definedOnly(sent.shapeConfig ?? {}),
          source: sourceOf(sent),
          launchOptions: sent.launchOptions ?? undefined,
          metadata: sent.metadata ?? {},
          tags: definedOnly(sentTags(sent)),
        });
        const headers = { etag: instance.etag, 'opc-work-request-id': workRequestId(region.name, job) };
        return { statusCode: 200, body: toJsonValue(body(instance)), headers };
      }),
    );
    app.get('/20160918/instances/:instance', { schema: { params: parameters } }, async (request, reply) => {
      const instance = await instances.get(request.principal, instanceId(request.params));
      reply.header('etag', instance.etag);
      return body(instance);
    });
    app.put(
      '/20160918/instances/:instance',
      {
        schema: {
          params: parameters,
          body: z.object({
            displayName: displayName.nullish(),
            shape: z.string().nullish(),
            shapeConfig,
            metadata,
            ...tagFields,
          }),
        },
      },
      (request, reply) =>
        retryOnce(idempotency, request, reply, 'UpdateInstance', async () => {
          const { body: sent, principal, params } = request;
          const changes = {
            name: sent.displayName ?? undefined,
            shape: sent.shape ?? undefined,
            shapeConfig: sent.shapeConfig == null ? undefined : definedOnly(sent.shapeConfig),
            metadata: sent.metadata ?? undefined,
            tags: definedOnly(sentTags(sent)),
          };
          const id = instanceId(params);
          const { instance, job } = await instances.update(principal, id, changes, ifMatch(request));
          const headers = { etag: instance.etag, 'opc-work-request-id': workRequestId(region.name, job) };
          return { statusCode: 200, body: toJsonValue(body(instance)), headers };
        }),
    );
    app.post(
      '/20160918/instances/:instance',
      { schema: { params: parameters, querystring: z.object({ action: z.string() }) } },
      (request, reply) =>
        retryOnce(idempotency, request, reply, 'InstanceAction', async () => {
          const { params, principal, query } = request;
          const { instance, job } = await instances.act(
            principal,
            instanceId(params),
            requiredAction(query.action),
            { ifMatch: ifMatch(request) },
          );
          const headers = { etag: instance.etag, 'opc-work-request-id': workRequestId(region.name, job) };
          return { statusCode: 200, body: toJsonValue(body(instance)), headers };
        }),
    );
    app.delete(
      '/20160918/instances/:instance',
      {
        schema: {
          params: parameters,
          querystring: z.object({ preserveBootVolume: z.stringbool().default(false) }),
        },
      },
      async (request, reply) => {
        const { params, principal, query } = request;
        const options = { keepsBootVolume: query.preserveBootVolume, ifMatch: ifMatch(request) };
        const job = await instances.terminate(principal, instanceId(params), options);
        await reply.status(204).header('opc-work-request-id', workRequestId(region.name, job)).send();
      },
    );
    app.get(
      '/20160918/vnicAttachments',
      { schema: { querystring: pageQuery.extend({ compartmentId: z.string() }) } },
      async ({ query }) => {
        compartmentId(query.compartmentId);
        return [];
      },
    );
    app.route({
      method: ['GET', 'POST'],
      url: '/20160918/instanceConsoleConnections',
      handler: async () => {
        throw new OciError(501, 'NotImplemented', 'consoles here are opened natively, not by SSH');
      },
    });
  };
}

function instanceId({ instance }: z.infer<typeof parameters>): string {
  return idInPath(['instance'], instance);
}

/** Throws OciError 400 for a word that OCI does not know, and 409 for what cannot be done here. */
function requiredAction(action: string): InstanceAction {
  const known = instanceActions.find((each) => each.toUpperCase() === action);
  if (known !== undefined) return known;
  if (['SENDDIAGNOSTICINTERRUPT', 'DIAGNOSTICREBOOT', 'REBOOTMIGRATE'].includes(action))
    throw new OciError(409, 'Conflict', `${action} is not possible with the hypervisor of this service`);
  throw new OciError(400, 'InvalidParameter', `there is no action ${JSON.stringify(action)}`);
}

function sourceOf({ sourceDetails, imageId }: z.infer<typeof launchBody>): LaunchSource {
  if (sourceDetails?.sourceType === 'bootVolume')
    return { kind: 'bootVolume', volumeId: idInPath(['bootvolume'], sourceDetails.bootVolumeId) };
  const ocid = sourceDetails?.imageId ?? imageId;
  if (ocid == null) throw new OciError(400, 'MissingParameter', 'sourceDetails says what to launch from');
  const gigabytes = sourceDetails?.bootVolumeSizeInGBs;
  const bootVolumeBytes = gigabytes == null ? undefined : gigabytes * 2 ** 30;
  const bootVolumeBytesMin = BOOT_VOLUME_BYTES_MIN;
  return { kind: 'image', imageId: idInPath(['image'], ocid), bootVolumeBytes, bootVolumeBytesMin };
}

function toOciInstance(instance: Instance, region: string) {
  const { imageId, launchOptions } = instance;
  const { launchMode: _, ...devices } = launchOptions ?? {};
  const imageOcid = imageId === undefined ? undefined : toOcid('image', region, imageId);
  return {
    id: toOcid('instance', region, instance.id),
    compartmentId: compartmentOcid(instance.compartmentId),
    displayName: instance.name,
    availabilityDomain: instance.availabilityDomain,
    region,
    shape: instance.shape,
    shapeConfig: { ...instance.shapeConfig, vcpus: instance.cpuCount },
    lifecycleState: instance.state,
    metadata: instance.metadata,
    timeCreated: time(instance.createdAtMs),
    ...(imageOcid !== undefined && {
      imageId: imageOcid,
      sourceDetails: { sourceType: 'image', imageId: imageOcid },
    }),
    ...(instance.launchMode !== undefined && { launchMode: instance.launchMode }),
    ...(launchOptions !== undefined && { launchOptions: devices }),
    ...tagBody(instance.tags),
  };
}
