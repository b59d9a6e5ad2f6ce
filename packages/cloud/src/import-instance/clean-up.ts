import { isNotFound } from '../oci/refusal.ts';
import { objectPlace } from './cloud-steps.ts';
import type { ImportRun } from './run.ts';
import type { Leftover } from './state.ts';

/** Removes what the import made in the cloud; what cannot be removed is written down, and stops nothing. */
export async function cleanUp(run: ImportRun): Promise<void> {
  const { clients, journal, meter } = run;
  const { request, image, failedImageIds } = journal.state;
  meter.part('clean up', 0);
  const leftovers: Leftover[] = [];
  const attempt = async (
    leftover: Omit<Leftover, 'why'>,
    remove: () => Promise<unknown>,
  ): Promise<boolean> => {
    try {
      await clients.call(remove);
    } catch (error) {
      clients.signal.throwIfAborted();
      if (!isNotFound(error)) {
        leftovers.push({ ...leftover, why: (error as Error).message });
        return false;
      }
    }
    return true;
  };
  const { object } = journal.state;
  if (!request.keep && object.isRemoved !== true && object.version !== undefined) {
    const place = objectPlace(journal.state);
    const { etag } = object.version;
    const isRemoved = await attempt(
      {
        kind: 'object',
        id: `${place.bucket}/${place.object}`,
        remove: `oci os object delete --namespace ${place.namespace} --bucket-name ${place.bucket} --object-name ${place.object}`,
      },
      () =>
        clients.objects.deleteObject({
          namespaceName: place.namespace,
          bucketName: place.bucket,
          objectName: place.object,
          // Not what somebody else put there since.
          ifMatch: etag,
        }),
    );
    await journal.save({ object: { ...object, isRemoved } });
  }
  meter.part('clean up', 0.5);
  const removeImage = (imageId: string) =>
    attempt({ kind: 'image', id: imageId, remove: `oci compute image delete --image-id ${imageId}` }, () =>
      clients.compute.deleteImage({ imageId }),
    );
  if (!request.keep && image.isRemoved !== true && image.id !== undefined)
    await journal.save({ image: { ...image, isRemoved: await removeImage(image.id) } });
  for (const id of failedImageIds) await removeImage(id);
  await journal.save({ leftovers, finishedAt: new Date().toISOString() });
  meter.part('clean up', 1);
}
