import { randomUUID } from 'node:crypto';
import type { models } from 'oci-core';
import type { ObjectPlace } from '../oci/clients.ts';
import { objectVersion } from '../oci/object-source.ts';
import { isNotFound, OciRefusal } from '../oci/refusal.ts';
import { polled, WorkFailed, waitForWork } from '../oci/work-requests.ts';
import type { ImportRun } from './run.ts';
import type { ImageStep, ImportState, ObjectStep } from './state.ts';

/** Of an image that can still become one, or is one. */
const LIVE_STATES = ['PROVISIONING', 'IMPORTING', 'AVAILABLE', 'EXPORTING'];

/** Makes the custom image, or finds the one that an earlier process asked for, and waits until it is there. */
export async function createImage(run: ImportRun): Promise<void> {
  const { journal, meter } = run;
  if (journal.state.image.isReady === true) return;
  meter.part('create image', 0);
  if (journal.state.image.id === undefined) await journal.save({ image: await askForImage(run) });
  const { image } = journal.state;
  const id = image.id ?? '';
  meter.part('create image', 0.25);
  try {
    await waitForImage(run, id, image.workRequestId, (percent) =>
      meter.part('create image', 0.25 + 0.75 * (percent / 100)),
    );
  } catch (error) {
    if (error instanceof WorkFailed) {
      const failedImageIds = [...journal.state.failedImageIds, id];
      await journal.save({ image: { retryToken: randomUUID() }, failedImageIds });
    }
    throw error;
  }
  await journal.save({ image: { ...image, isReady: true } });
  meter.part('create image', 1);
}

async function askForImage(run: ImportRun): Promise<ImageStep> {
  const { clients, journal } = run;
  const { retryToken } = journal.state.image;
  const { instance, cloudName } = journal.state;
  const found = await imageNamed(run, cloudName);
  if (found !== undefined) return { retryToken, id: found.id };
  const createImageDetails = {
    compartmentId: instance.compartmentId,
    displayName: cloudName,
    instanceId: instance.id,
  };
  const send = (opcRetryToken: string) =>
    clients.call(() => clients.compute.createImage({ createImageDetails, opcRetryToken }));
  const token = { retryToken };
  const answer = await send(token.retryToken).catch(async (error) => {
    // Remembered from an attempt that came to nothing.
    if (!(error instanceof OciRefusal) || error.serviceCode !== 'InvalidatedRetryToken') throw error;
    token.retryToken = randomUUID();
    await journal.save({ image: { retryToken: token.retryToken } });
    return send(token.retryToken);
  });
  return { ...token, id: answer.image.id, workRequestId: answer.opcWorkRequestId ?? '' };
}

/** The image of this run when it was asked for and the answer was lost, however long ago. */
async function imageNamed(
  { clients, journal }: ImportRun,
  displayName: string,
): Promise<models.Image | undefined> {
  const { compartmentId } = journal.state.instance;
  const { items } = await clients.call(() => clients.compute.listImages({ compartmentId, displayName }));
  const { failedImageIds } = journal.state;
  return items.find(
    (image) =>
      image.displayName === displayName &&
      LIVE_STATES.includes(image.lifecycleState) &&
      !failedImageIds.includes(image.id),
  );
}

/** Exports the image into the bucket and waits until the object is there, whole. */
export async function exportImage(run: ImportRun): Promise<void> {
  const { clients, journal, meter } = run;
  if (journal.state.object.version !== undefined) return;
  meter.part('export image', 0);
  const imageId = journal.state.image.id ?? '';
  if (journal.state.object.workRequestId === undefined) {
    await journal.save({ object: await askForExport(run, imageId) });
  }
  const { object } = journal.state;
  meter.part('export image', 0.0625);
  try {
    await waitForImage(run, imageId, object.workRequestId, (percent) =>
      meter.part('export image', 0.0625 + 0.9375 * (percent / 100)),
    );
    await journal.save({ object: { ...object, version: await exportedVersion(run) } });
  } catch (error) {
    if (error instanceof WorkFailed) await journal.save({ object: { retryToken: randomUUID() } });
    throw error;
  }
  clients.signal.throwIfAborted();
  meter.part('export image', 1);
}

async function askForExport({ clients, journal }: ImportRun, imageId: string): Promise<ObjectStep> {
  const { retryToken } = journal.state.object;
  const { namespace, bucket, object } = objectPlace(journal.state);
  // Nobody else knows the image: when it is at it, an earlier process asked for that, and the answer was lost.
  const { image } = await clients.call(() => clients.compute.getImage({ imageId }));
  if (image.lifecycleState === 'EXPORTING') return { retryToken, workRequestId: '' };
  const exportImageDetails = {
    destinationType: 'objectStorageTuple',
    namespaceName: namespace,
    bucketName: bucket,
    objectName: object,
    exportFormat: 'OCI' as models.ExportImageDetails.ExportFormat,
  } as models.ExportImageViaObjectStorageTupleDetails;
  const { opcWorkRequestId } = await clients.call(() =>
    clients.compute.exportImage({ imageId, exportImageDetails, opcRetryToken: retryToken }),
  );
  return { retryToken, workRequestId: opcWorkRequestId ?? '' };
}

/** An export that failed leaves an image that is AVAILABLE, and no object. */
async function exportedVersion({ clients, journal }: ImportRun): Promise<NonNullable<ObjectStep['version']>> {
  const place = objectPlace(journal.state);
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

/** Waits for the work on an image, and until the image itself says that it is done. */
async function waitForImage(
  { clients }: ImportRun,
  imageId: string,
  workRequestId: string | undefined,
  onPercent: (percent: number) => void,
): Promise<void> {
  if (workRequestId) await waitForWork(clients, workRequestId, onPercent);
  const { lifecycleState } = await polled(
    clients.signal,
    async () => (await clients.call(() => clients.compute.getImage({ imageId }))).image,
    (image) => !['PROVISIONING', 'IMPORTING', 'EXPORTING'].includes(image.lifecycleState),
  );
  if (lifecycleState === 'AVAILABLE') return;
  throw new WorkFailed(
    `the image ended as ${lifecycleState}`,
    imageId,
    'see the work requests of the compartment for the reason, then go on with the same command',
  );
}

export function objectPlace({ request, cloudName }: ImportState): ObjectPlace {
  return { namespace: request.namespace, bucket: request.bucket, object: `${cloudName}.oci` };
}
