import type { Image, Job } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { imagePath } from '../../client/images.ts';
import { findInstance, instancePath } from '../../client/instances.ts';
import { waitForJob, watchHint } from '../../client/jobs.ts';
import type { Context } from '../../context.ts';
import { printable } from '../../output/printable.ts';
import { exactSizeText } from '../../output/quantities.ts';

interface CaptureOptions {
  readonly name: string;
  readonly reboot?: boolean;
  readonly allVolumes?: boolean;
  readonly compartment?: string;
  readonly wait?: boolean;
  readonly timeout?: number;
}

export async function run(
  context: Context,
  [idOrName]: readonly [string],
  { name, reboot, allVolumes, compartment, wait, timeout }: CaptureOptions,
): Promise<undefined> {
  const client = await connect(context);
  const { id } = await findInstance(client, idOrName);
  const request = { name, reboot, allVolumes, compartmentId: compartment };
  const { job, imageIds } = await client.startOnce<{ job: Job; imageIds: readonly string[] }>(
    `${instancePath(id)}/images`,
    request,
  );
  if (wait !== true && timeout === undefined) {
    context.progress.note(watchHint(job.id));
    await context.output.record({ job: job.id, images: imageIds }, [...imageIds]);
    return;
  }
  await waitForJob(context, client, job.id, { timeout });
  const images: Image[] = [];
  for (const imageId of imageIds) images.push(await client.json<Image>('GET', imagePath(imageId)));
  await context.output.record(
    { job: job.id, images: images.map((image) => ({ ...image })) },
    images.map(
      (image) =>
        `captured ${image.id} (${printable(image.name)}): ${exactSizeText(image.virtualSizeBytes)}, ${image.diskDigest}`,
    ),
  );
}
