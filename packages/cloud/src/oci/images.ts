import type { models } from 'oci-core';
import type { ObjectPlace, OciClients } from './clients.ts';
import { type ObjectVersion, objectVersion } from './object-source.ts';
import { isNotFound } from './refusal.ts';
import { polled, WorkFailed, type WorkListener, waitForWork } from './work-requests.ts';

const BUSY_STATES = ['PROVISIONING', 'IMPORTING', 'EXPORTING'];

export async function getImage(clients: OciClients, imageId: string): Promise<models.Image> {
  return (await clients.call(() => clients.compute.getImage({ imageId }))).image;
}

/**
 * Waits for the work on an image, and until the image itself says that it is done. Throws WorkFailed when it came to
 * nothing.
 */
export async function waitForImage(
  clients: OciClients,
  imageId: string,
  workRequestId: string,
  onPercent: WorkListener,
): Promise<models.Image> {
  if (workRequestId !== '') await waitForWork(clients, workRequestId, onPercent);
  const image = await polled(
    clients.signal,
    () => getImage(clients, imageId),
    ({ lifecycleState }) => !BUSY_STATES.includes(lifecycleState),
  );
  if (image.lifecycleState === 'AVAILABLE') return image;
  throw new WorkFailed(
    `the image ended as ${image.lifecycleState}`,
    imageId,
    'see the work requests of the compartment for the reason, then go on with the same command',
  );
}

/** Asks for an export as an `.oci` archive; gives the id of the work request, empty when OCI names none. */
export async function startExport(
  clients: OciClients,
  imageId: string,
  { namespace, bucket, object }: ObjectPlace,
  opcRetryToken: string,
): Promise<string> {
  const exportImageDetails = {
    destinationType: 'objectStorageTuple',
    namespaceName: namespace,
    bucketName: bucket,
    objectName: object,
    exportFormat: 'OCI' as models.ExportImageDetails.ExportFormat,
  } as models.ExportImageViaObjectStorageTupleDetails;
  const { opcWorkRequestId } = await clients.call(() =>
    clients.compute.exportImage({ imageId, exportImageDetails, opcRetryToken }),
  );
  return opcWorkRequestId ?? '';
}

/** What an export has put into the bucket. One that failed leaves an image that is AVAILABLE, and no object. */
export async function exportedVersion(clients: OciClients, place: ObjectPlace): Promise<ObjectVersion> {
  try {
    return await objectVersion(clients, place);
  } catch (error) {
    if (!isNotFound(error)) throw error;
    throw new WorkFailed(
      'OCI says that the export has ended, and there is no object',
      `${place.bucket}/${place.object}`,
      'see that the user may write to the bucket, then go on with the same command: the image is kept',
    );
  }
}

export async function namespaceOf(clients: OciClients): Promise<string> {
  return (await clients.call(() => clients.objects.getNamespace({}))).value;
}

/** Throws STORE_NOT_FOUND when there is no such bucket, or none that the user may see. */
export async function requireBucket(clients: OciClients, namespace: string, bucket: string): Promise<void> {
  await clients.call(() => clients.objects.getBucket({ namespaceName: namespace, bucketName: bucket }));
}
