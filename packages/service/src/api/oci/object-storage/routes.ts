import type { FastifyPluginAsync } from 'fastify';
import { bucketRoutes, type OciBucketParts } from './buckets.ts';
import { copyRoutes, type OciCopyParts } from './copies.ts';
import { answerObjectStorageError } from './errors.ts';
import { namespaceRoutes } from './namespaces.ts';
import { type OciObjectParts, objectRoutes } from './objects.ts';
import { type OciParParts, parRoutes } from './pars.ts';
import { type OciUploadParts, uploadRoutes } from './uploads.ts';

export interface ObjectStorageParts
  extends OciBucketParts,
    OciObjectParts,
    OciUploadParts,
    OciParParts,
    OciCopyParts {}

/** Signed requests of Oracle's Object Storage Service API. */
export function objectStorageRoutes(parts: ObjectStorageParts): FastifyPluginAsync {
  return async (app) => {
    app.setErrorHandler(answerObjectStorageError);
    await app.register(namespaceRoutes(parts.tenancies));
    await app.register(bucketRoutes(parts));
    await app.register(objectRoutes(parts));
    await app.register(uploadRoutes(parts));
    await app.register(parRoutes(parts));
    await app.register(copyRoutes(parts));
  };
}
