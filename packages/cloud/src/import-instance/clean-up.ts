import { type Leftover, removeImage, removeObject } from '../oci/removal.ts';
import { objectPlace } from './cloud-steps.ts';
import type { ImportRun } from './run.ts';

/** Removes what the import made in the cloud; what cannot be removed is written down, and stops nothing. */
export async function cleanUp(run: ImportRun): Promise<void> {
  const { clients, journal, meter } = run;
  const { request, object, image, failedImageIds } = journal.state;
  meter.part('clean up', 0);
  const leftovers: Leftover[] = [];
  const isGone = (leftover: Leftover | undefined) => {
    if (leftover !== undefined) leftovers.push(leftover);
    return leftover === undefined;
  };
  if (!request.keep && object.isRemoved !== true && object.version !== undefined) {
    const left = await removeObject(clients, objectPlace(journal.state), object.version.etag);
    await journal.save({ object: { ...object, isRemoved: isGone(left) } });
  }
  meter.part('clean up', 0.5);
  if (!request.keep && image.isRemoved !== true && image.id !== undefined) {
    const left = await removeImage(clients, image.id);
    await journal.save({ image: { ...image, isRemoved: isGone(left) } });
  }
  for (const id of failedImageIds) isGone(await removeImage(clients, id));
  await journal.save({ leftovers, finishedAt: new Date().toISOString() });
  meter.part('clean up', 1);
}
