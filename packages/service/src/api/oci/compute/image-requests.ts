import { StoreError } from '@gantry/disk';
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { DomainError } from '../../../domain/errors.ts';
import type { RequestedTarget } from '../../../domain/image-exports.ts';
import type { RequestedSource } from '../../../domain/image-imports.ts';
import { launchModes, launchOptionsInput } from '../../../domain/launch-options.ts';
import type { NamedObject, ObjectSources } from '../../../domain/object-sources.ts';
import { type JsonValue, toJsonValue } from '../../../json.ts';
import { OciError } from '../errors.ts';
import { tagFields } from '../tags.ts';
import { displayName } from './common.ts';

const system = z.string().max(255).nullish();
const sourceCommon = {
  /** The SDK knows QCOW2 and VMDK and sends what it is given; without one the content tells. */
  sourceImageType: z.enum(['QCOW2', 'VMDK', 'VHD', 'VDI', 'VHDX', 'RAW', 'OCI']).nullish(),
  operatingSystem: system,
  operatingSystemVersion: system,
};
const objectTuple = { namespaceName: z.string(), bucketName: z.string(), objectName: z.string() };

const sourceDetails = z.discriminatedUnion('sourceType', [
  z.object({ sourceType: z.literal('objectStorageTuple'), ...objectTuple, ...sourceCommon }),
  z.object({ sourceType: z.literal('objectStorageUri'), sourceUri: z.string(), ...sourceCommon }),
]);
export type ImageSourceDetails = z.infer<typeof sourceDetails>;

export const createImageBody = z.object({
  compartmentId: z.string(),
  displayName: displayName.nullish(),
  instanceId: z.string().nullish(),
  imageSourceDetails: sourceDetails.nullish(),
  launchMode: z.enum(launchModes).nullish(),
  /** Not in OCI's model; clients send it all the same, because there it is missed. */
  launchOptions: launchOptionsInput.nullish(),
  ...tagFields,
});

export const updateImageBody = z.object({
  displayName: displayName.nullish(),
  operatingSystem: system,
  operatingSystemVersion: system,
  ...tagFields,
});

const exportFormat = z.enum(['QCOW2', 'VMDK', 'OCI', 'VHD', 'VDI']).nullish();
export const exportImageBody = z.discriminatedUnion('destinationType', [
  z.object({ destinationType: z.literal('objectStorageTuple'), ...objectTuple, exportFormat }),
  z.object({ destinationType: z.literal('objectStorageUri'), destinationUri: z.string(), exportFormat }),
]);
export type ExportImageBody = z.infer<typeof exportImageBody>;

const NO_SOURCE =
  'Invalid objectName: Specified object or bucket or namespace to import image from does not exist';
const NO_TARGET = 'Invalid bucketName: Specified bucket or namespace to export image to does not exist';

/** Where the image comes from. Throws OciError 400, the same for what is missing and what may not be seen. */
export function requestedSource(
  sources: ObjectSources,
  request: FastifyRequest,
  details: ImageSourceDetails,
): Promise<RequestedSource> {
  return refusing(NO_SOURCE, () =>
    details.sourceType === 'objectStorageTuple'
      ? sources.byName(request.principal, nameOf(details), 'read')
      : sources.byAddress(request.principal, details.sourceUri, [request.host], 'read'),
  );
}

/** Where the image goes to. Throws OciError 400. */
export function requestedTarget(
  sources: ObjectSources,
  request: FastifyRequest,
  body: ExportImageBody,
): Promise<RequestedTarget> {
  return refusing(NO_TARGET, () =>
    body.destinationType === 'objectStorageTuple'
      ? sources.byName(request.principal, nameOf(body), 'write')
      : sources.byAddress(request.principal, body.destinationUri, [request.host], 'write'),
  );
}

function nameOf(tuple: { namespaceName: string; bucketName: string; objectName: string }): {
  readonly namespace: string;
  readonly bucket: string;
  readonly key: string;
} {
  return { namespace: tuple.namespaceName, bucket: tuple.bucketName, key: tuple.objectName };
}

/** Who may see the bucket hears what exactly is wrong; for a stranger all looks alike. */
async function refusing(text: string, find: () => Promise<NamedObject>): Promise<NamedObject> {
  try {
    return await find();
  } catch (error) {
    if (error instanceof StoreError) throw new OciError(400, 'InvalidParameter', error.message);
    if (!(error instanceof DomainError)) throw error;
    const isSeen = error.code === 'FORBIDDEN' || error.subject === 'object';
    if (error.code !== 'NOT_FOUND' && error.code !== 'FORBIDDEN') throw error;
    throw new OciError(400, 'InvalidParameter', isSeen ? `${text} (${error.message})` : text);
  }
}

/** The source as it is given back: as it was sent, but for the secret of a pre-authenticated request. */
export function shownSource(details: ImageSourceDetails): JsonValue {
  if (details.sourceType === 'objectStorageTuple') return toJsonValue(details);
  const sourceUri = details.sourceUri.replace(/\/p\/[^/]+\//, '/p/.../').replace(/[?#].*$/, '');
  return toJsonValue({ ...details, sourceUri });
}
