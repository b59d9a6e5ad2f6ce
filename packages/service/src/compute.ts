import { guardedFetch, guardedSend, requireGuardedAddress } from '@gantry/storage';
import type { Database } from './db/database.ts';
import { findJobSecret, forgetJobSecrets, updateJobSecret } from './db/repositories/job-secrets.ts';
import type { Access } from './domain/access.ts';
import { CapabilitySchemas } from './domain/capability-schemas.ts';
import { captureHandler } from './domain/capture-job.ts';
import { ConsoleHistories } from './domain/console-histories.ts';
import { DomainError } from './domain/errors.ts';
import { exportHandler } from './domain/export-job.ts';
import { type HostLimits, HostQuota } from './domain/host-quota.ts';
import { ImageCaptures } from './domain/image-captures.ts';
import { ImageExports } from './domain/image-exports.ts';
import { ImageImports } from './domain/image-imports.ts';
import { ImageShapes } from './domain/image-shapes.ts';
import { Images } from './domain/images.ts';
import { importHandler } from './domain/import-job.ts';
import { instanceLanes } from './domain/instance-jobs.ts';
import { instanceRetries } from './domain/instance-retries.ts';
import { Instances } from './domain/instances.ts';
import type { RetryPermit } from './domain/jobs.ts';
import { ownObjectAddress } from './domain/object-address.ts';
import { ObjectSources } from './domain/object-sources.ts';
import type { Objects } from './domain/objects.ts';
import type { PreAuthenticatedRequests } from './domain/pars.ts';
import { isOfPeer, peerHosts, type Region } from './domain/region.ts';
import { Screens } from './domain/screens.ts';
import { knownShapes, type Shape } from './domain/shapes.ts';
import type { StoredBytes } from './domain/stored-bytes.ts';
import type { ObjectPlace } from './domain/stored-object.ts';
import { StreamImports } from './domain/stream-import.ts';
import type { TagPolicy } from './domain/tags.ts';
import type { ImageViews } from './domain/views.ts';
import { attachmentHandlers, VolumeAttachments } from './domain/volume-attachments.ts';
import { Volumes } from './domain/volumes.ts';
import type { JobHandlers } from './jobs/handler.ts';
import type { JobLane } from './jobs/lanes.ts';
import type { JobQueue } from './jobs/queue.ts';
import type { Machines } from './machines/machines.ts';
import type { Vault } from './vault/vault.ts';

export interface ComputeParts {
  readonly database: Database;
  readonly vault: Vault;
  readonly views: ImageViews;
  readonly bytes: StoredBytes;
  readonly queue: JobQueue;
  readonly access: Access;
  readonly tags: TagPolicy;
  readonly objects: Objects;
  readonly pars: PreAuthenticatedRequests;
  readonly region: Region;
  readonly allowNetworks: readonly string[];
  readonly imageSizeMaxBytes: number | undefined;
  readonly shapes: readonly Shape[] | undefined;
  readonly machines: Machines;
  readonly hostLimits: HostLimits;
  /** How long guests have to end by themselves where nobody says; default 15 minutes, as in OCI. */
  readonly graceMs: number | undefined;
  readonly wake: () => void;
}

/** What the APIs need of images and instances, and the jobs that belong to them. */
export interface Compute {
  readonly images: Images;
  readonly imports: ImageImports;
  readonly exports: ImageExports;
  readonly captures: ImageCaptures;
  readonly streamImports: StreamImports;
  readonly imageShapes: ImageShapes;
  readonly capabilitySchemas: CapabilitySchemas;
  readonly instances: Instances;
  readonly volumes: Volumes;
  readonly attachments: VolumeAttachments;
  readonly screens: Screens;
  readonly consoleHistories: ConsoleHistories;
  readonly objectSources: ObjectSources;
  readonly shapes: readonly Shape[];
  readonly handlers: JobHandlers;
  readonly permitRetry: RetryPermit;
  /** Jobs that do not wait for those. */
  readonly lanes: readonly JobLane[];
  /** Forgets what was deleted a while ago. */
  readonly tidy: () => Promise<void>;
}

/** The largest boot volume of OCI; a service of one's own has no reason to stop at OCI's 400 GB for imports. */
const IMAGE_SIZE_MAX_BYTES: number = 32 * 1024 ** 4;

/** OCI's SOFTSTOP and SOFTRESET end a guest by force after that. */
const GRACE_MS: number = 15 * 60_000;

export function makeCompute(parts: ComputeParts): Compute {
  const { database, access, objects, region, shapes = knownShapes } = parts;
  const images = new Images(parts);
  const imports = new ImageImports({ ...parts, images });
  const streamImports = new StreamImports(parts.queue, images, imports);
  const quota = new HostQuota(parts.hostLimits);
  const volumes = new Volumes({ ...parts, images, quota });
  const imageShapes = new ImageShapes(database, images);
  const graceMs = parts.graceMs ?? GRACE_MS;
  const instances = new Instances({ ...parts, volumes, imageShapes, shapes, quota, graceMs });
  const screens = new Screens({ ...parts, instances });
  const guard = { allow: [...parts.allowNetworks, ...peerHosts(region)] };
  const common = {
    ...parts,
    requirePrincipal: (userId: string | undefined) => access.requirePrincipal(userId),
    parPlace: (url: URL, action: 'read' | 'write') => parPlace(parts.pars, url, action),
    fetch: guardedFetch(guard),
  };
  return {
    images,
    imports,
    streamImports,
    imageShapes,
    instances,
    volumes,
    attachments: new VolumeAttachments({ ...parts, instances, volumes }),
    screens,
    consoleHistories: new ConsoleHistories({ ...parts, instances, screens }),
    shapes,
    objectSources: new ObjectSources({
      ...common,
      requireAddress: (url) => void requireGuardedAddress(url, guard),
    }),
    exports: new ImageExports({ ...parts, images }),
    captures: new ImageCaptures({ ...parts, images, instances, graceMs }),
    capabilitySchemas: new CapabilitySchemas({ ...parts, images }),
    permitRetry: instanceRetries({ access, instances, quota }),
    handlers: {
      'image-import': importHandler({
        ...common,
        openObject: (place) => objects.open(place),
        addressOf: (jobId) => findJobSecret(database.kysely, jobId),
        arrivingBody: streamImports.bodyOf,
        isPeer: (url) => isOfPeer(region, url),
        imageSizeMaxBytes: parts.imageSizeMaxBytes ?? IMAGE_SIZE_MAX_BYTES,
      }),
      'image-export': exportHandler({
        ...common,
        send: guardedSend(guard),
        secretOf: (jobId) => findJobSecret(database.kysely, jobId),
        keepSecret: (jobId, secret) => updateJobSecret(database.kysely, jobId, secret),
      }),
    },
    lanes: [
      { handlers: { 'image-capture': captureHandler({ ...parts, shapes }) } },
      ...instanceLanes({ ...parts, shapes }, attachmentHandlers({ ...parts, shapes })),
    ],
    async tidy() {
      await images.tidy();
      await instances.tidy();
      await volumes.tidy();
      await forgetJobSecrets(database.kysely, Date.now() - SECRETS_KEPT_MS);
    },
  };
}

/** So long a job that failed can be tried again with the address that it was given. */
const SECRETS_KEPT_MS: number = 7 * 24 * 60 * 60 * 1000;

/** The object that an address of a pre-authenticated request of this service leads to, as its maker may use it now. */
async function parPlace(
  pars: PreAuthenticatedRequests,
  url: URL,
  action: 'read' | 'write',
): Promise<ObjectPlace> {
  const address = ownObjectAddress(url, [url.host]);
  if (address?.token === undefined) throw new DomainError('NOT_FOUND', 'this address names no object here');
  const { token, namespace, bucket, key } = address;
  const { principal } = await pars.use({ token, namespace, bucket }, action, key);
  return { principal, bucket, key };
}
