import { StoreError } from '@gantry/disk';
import type { models } from 'oci-core';
import type { ObjectPlace, OciClients } from '../oci/clients.ts';
import { exportedVersion, namespaceOf, requireBucket, waitForImage } from '../oci/images.ts';
import { type Leftover, removeImage, removeObject } from '../oci/removal.ts';
import { waitForCopy } from '../oci/work-requests.ts';
import {
  type CloudAccount,
  type CloudTools,
  cleaned,
  connectAccount,
  exportArchive,
  exportPlace,
} from './cloud-image.ts';

export interface ReplicaWish {
  readonly source: CloudAccount;
  readonly imageId: string;
  readonly bucket: string;
  readonly target: CloudAccount;
  /** In the target's region; default: one of the source's name. */
  readonly targetBucket?: string | undefined;
  /** Of the new image; default: the source's. */
  readonly name?: string | undefined;
  /** Of the new image; default: the source's in the same tenancy, else the root of the target's. */
  readonly compartmentId?: string | undefined;
}

export interface Replica {
  readonly imageId: string;
  readonly name: string;
  readonly region: string;
  /** Of the archive that was copied. */
  readonly lengthBytes: number;
  readonly leftovers: readonly Leftover[];
}

interface Ends {
  readonly source: OciClients;
  readonly target: OciClients;
  readonly step: (phase: string, overallPercent: number) => void;
}

/**
 * Oracle's way to bring a custom image into another region: an export as an `.oci` archive, a copy of the object into
 * a bucket there, an import from it. Both objects are removed again, also when it fails.
 */
export async function replicateCloudImage(wish: ReplicaWish, tools: CloudTools): Promise<Replica> {
  const source = await connectAccount(wish.source, tools);
  try {
    const target = await connectAccount(wish.target, tools);
    const step = (phase: string, overallPercent: number) =>
      tools.onProgress({ phase, doneBytes: 0, totalBytes: null, overallPercent });
    try {
      return await replicate({ source, target, step }, wish);
    } finally {
      target.close();
    }
  } finally {
    source.close();
  }
}

async function replicate(ends: Ends, wish: ReplicaWish): Promise<Replica> {
  const { source, target, step } = ends;
  const bucket = wish.targetBucket ?? wish.bucket;
  const namespace = await namespaceOf(target);
  await requireBucket(target, namespace, bucket);
  const { image, place } = await exportPlace(source, wish.imageId, wish.bucket);
  const copy: ObjectPlace = { namespace, bucket, object: place.object };
  try {
    const version = await exportArchive(source, wish.imageId, place, (percent) =>
      step('export image', percent * 0.4),
    );
    await copyObject(ends, place, version.etag, copy);
    const { lengthBytes } = await exportedVersion(target, copy);
    if (lengthBytes !== version.lengthBytes) {
      throw new StoreError('STORE_CORRUPT', 'the copy of the archive has another length than the archive', {
        where: `${copy.bucket}/${copy.object}: ${lengthBytes} bytes of ${version.lengthBytes}`,
        hint: 'try again',
      });
    }
    const name = wish.name ?? image.displayName ?? place.object;
    const imageId = await importImage(ends, copy, name, wish, image.compartmentId);
    const removals = [await removeObject(source, place, version.etag), await removeObject(target, copy)];
    const leftovers = removals.filter((left) => left !== undefined);
    step('clean up', 100);
    return { imageId, name, region: target.region, lengthBytes, leftovers };
  } catch (error) {
    throw await cleaned(
      source,
      error,
      () => removeObject(source, place),
      () => removeObject(target, copy),
    );
  }
}

async function copyObject(
  { source, target, step }: Ends,
  from: ObjectPlace,
  etag: string,
  to: ObjectPlace,
): Promise<void> {
  const { opcWorkRequestId } = await source.call(() =>
    source.objects.copyObject({
      namespaceName: from.namespace,
      bucketName: from.bucket,
      copyObjectDetails: {
        sourceObjectName: from.object,
        sourceObjectIfMatchETag: etag,
        destinationRegion: target.region,
        destinationNamespace: to.namespace,
        destinationBucket: to.bucket,
        destinationObjectName: to.object,
      },
    }),
  );
  await waitForCopy(source, opcWorkRequestId, (percent) => step('copy object', 40 + percent * 0.3));
}

async function importImage(
  { source, target, step }: Ends,
  { namespace, bucket, object }: ObjectPlace,
  displayName: string,
  wish: ReplicaWish,
  sourceCompartmentId: string,
): Promise<string> {
  const isSameTenancy = source.profile.tenancyId === target.profile.tenancyId;
  const compartmentId =
    wish.compartmentId ?? (isSameTenancy ? sourceCompartmentId : target.profile.tenancyId);
  const imageSourceDetails = {
    sourceType: 'objectStorageTuple',
    namespaceName: namespace,
    bucketName: bucket,
    objectName: object,
  } as models.ImageSourceViaObjectStorageTupleDetails;
  const opcRetryToken = crypto.randomUUID();
  const { image, opcWorkRequestId } = await target.call(() =>
    target.compute.createImage({
      createImageDetails: { compartmentId, displayName, imageSourceDetails },
      opcRetryToken,
    }),
  );
  try {
    await waitForImage(target, image.id, opcWorkRequestId ?? '', (percent) =>
      step('import image', 70 + percent * 0.29),
    );
  } catch (error) {
    throw await cleaned(target, error, () => removeImage(target, image.id));
  }
  return image.id;
}
