import type { FastifyPluginAsync } from 'fastify';
import type { CapabilitySchemas } from '../../../domain/capability-schemas.ts';
import type { ConsoleHistories } from '../../../domain/console-histories.ts';
import type { ImageCaptures } from '../../../domain/image-captures.ts';
import type { ImageExports } from '../../../domain/image-exports.ts';
import type { ImageImports } from '../../../domain/image-imports.ts';
import type { ImageShapes } from '../../../domain/image-shapes.ts';
import type { Images } from '../../../domain/images.ts';
import type { Instances } from '../../../domain/instances.ts';
import type { Jobs } from '../../../domain/jobs.ts';
import type { ObjectSources } from '../../../domain/object-sources.ts';
import type { Region } from '../../../domain/region.ts';
import type { Shape } from '../../../domain/shapes.ts';
import type { VolumeAttachments } from '../../../domain/volume-attachments.ts';
import type { Volumes } from '../../../domain/volumes.ts';
import type { Idempotency } from '../../../jobs/idempotency.ts';
import { workRequestRoutes } from '../work-requests.ts';
import { capabilitySchemaRoutes } from './capability-schemas.ts';
import { consoleHistoryRoutes } from './console-histories.ts';
import { imageShapeRoutes } from './image-shapes.ts';
import { imageRoutes } from './images.ts';
import { instanceRoutes } from './instances.ts';
import { shapeRoutes } from './shapes.ts';
import { volumeRoutes } from './volumes.ts';

export interface OciComputeParts {
  readonly region: Region;
  readonly images: Images;
  readonly imports: ImageImports;
  readonly exports: ImageExports;
  readonly captures: ImageCaptures;
  readonly objectSources: ObjectSources;
  readonly imageShapes: ImageShapes;
  readonly capabilitySchemas: CapabilitySchemas;
  readonly instances: Instances;
  readonly volumes: Volumes;
  readonly attachments: VolumeAttachments;
  readonly consoleHistories: ConsoleHistories;
  readonly shapes: readonly Shape[];
  readonly jobs: Jobs;
  readonly idempotency: Idempotency;
}

/** OCI's core services: images and their capabilities, instances, boot volumes, shapes, and their work requests. */
export function ociComputeRoutes(parts: OciComputeParts): FastifyPluginAsync {
  return async (app) => {
    await app.register(imageRoutes(parts));
    await app.register(imageShapeRoutes(parts));
    await app.register(capabilitySchemaRoutes(parts));
    await app.register(instanceRoutes(parts));
    await app.register(consoleHistoryRoutes(parts));
    await app.register(volumeRoutes(parts));
    await app.register(shapeRoutes(parts));
    await app.register(workRequestRoutes(parts));
  };
}
