import { randomUUID } from 'node:crypto';
import type { models } from 'oci-core';
import type { ObjectPlace } from '../oci/clients.ts';
import { exportedVersion, getImage, startExport, waitForImage } from '../oci/images.ts';
import { OciRefusal } from '../oci/refusal.ts';
import { WorkFailed } from '../oci/work-requests.ts';
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
    await waitForImage(run.clients, id, image.workRequestId ?? '', (percent) =>
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
    await waitForImage(clients, imageId, object.workRequestId ?? '', (percent) =>
      meter.part('export image', 0.0625 + 0.9375 * (percent / 100)),
    );
    await journal.save({
      object: { ...object, version: await exportedVersion(clients, objectPlace(journal.state)) },
    });
  } catch (error) {
    if (error instanceof WorkFailed) await journal.save({ object: { retryToken: randomUUID() } });
    throw error;
  }
  clients.signal.throwIfAborted();
  meter.part('export image', 1);
}

async function askForExport({ clients, journal }: ImportRun, imageId: string): Promise<ObjectStep> {
  const { retryToken } = journal.state.object;
  // Nobody else knows the image: when it is at it, an earlier process asked for that, and the answer was lost.
  const { lifecycleState } = await getImage(clients, imageId);
  if (lifecycleState === 'EXPORTING') return { retryToken, workRequestId: '' };
  const place = objectPlace(journal.state);
  return { retryToken, workRequestId: await startExport(clients, imageId, place, retryToken) };
}

export function objectPlace({ request, cloudName }: ImportState): ObjectPlace {
  return { namespace: request.namespace, bucket: request.bucket, object: `${cloudName}.oci` };
}
