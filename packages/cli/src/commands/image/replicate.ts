import { RecipeFailed, type ReplicaWish, replicateCloudImage } from '@gantry/cloud';
import type { Image, Job } from '../../client/api.ts';
import { connect, ServiceClient } from '../../client/client.ts';
import { findImage, imagePath } from '../../client/images.ts';
import { waitForJob } from '../../client/jobs.ts';
import { isOciPlace, ociPlace, ociRegion } from '../../client/oci-place.ts';
import type { Context } from '../../context.ts';
import { EXIT, type ExitCode } from '../../errors/codes.ts';
import { CommandError, usageError } from '../../errors/command-error.ts';
import { printable } from '../../output/printable.ts';
import { exactSizeText } from '../../output/quantities.ts';
import { findProfile } from '../../profile/profile.ts';
import { leftoverLines } from './leftovers.ts';
import { removalHint, removeView, shareView } from './views.ts';

interface ReplicateOptions {
  readonly to: string;
  readonly name?: string;
  readonly bucket?: string;
  readonly toBucket?: string;
  readonly compartment?: string;
  readonly configFile?: string;
  readonly endpoint?: string;
  readonly toEndpoint?: string;
}

/** As long as the slowest replication may take; it is taken back when it is done. */
const EXPIRES_MS = 24 * 3600 * 1000;
const BUCKET = 'gantry-replicas';

export async function run(
  context: Context,
  [image]: readonly [string],
  options: ReplicateOptions,
): Promise<ExitCode> {
  const isCloud = isOciPlace(image);
  if (isCloud !== isOciPlace(options.to)) {
    throw usageError(
      'an image goes from service to service, or from OCI to OCI',
      'import it instead: gantry image share makes an address of it that gantry image import takes',
    );
  }
  return isCloud ? replicateInCloud(context, image, options) : replicateToService(context, image, options);
}

async function replicateToService(
  context: Context,
  idOrName: string,
  { to, name, bucket }: ReplicateOptions,
): Promise<ExitCode> {
  const source = await connect(context);
  const image = await findImage(source, idOrName);
  const profile = await findProfile({ profile: to, environment: context.environment });
  const target = new ServiceClient(profile, context.signal);
  const view = await shareView(context, source, image, {
    bucket: bucket ?? BUCKET,
    format: 'oci',
    expiresAtMs: Date.now() + EXPIRES_MS,
  });
  let replica: Image;
  try {
    replica = await importAt(context, target, view.url, name ?? image.name);
  } catch (error) {
    // The import goes on without us, and needs what is shown.
    if (context.signal.aborted) context.progress.note(removalHint(view.place));
    else await removeView(context, source, view);
    throw atTarget(error, profile.endpoint, source.profile.endpoint);
  }
  const isClean = await removeView(context, source, view);
  if (replica.diskDigest !== image.diskDigest) {
    throw new CommandError('VERIFY_FAILED', 'what arrived is not the disk of the image', {
      where: `${replica.id} has ${replica.diskDigest} instead of ${image.diskDigest}`,
      hint: 'delete it and try again; if it fails again, run gantry vault check --data on both sides',
    });
  }
  const { id, diskDigest, virtualSizeBytes } = replica;
  await context.output.record(
    {
      image: image.id,
      replica: id,
      name: replica.name,
      service: profile.endpoint,
      diskDigest,
      virtualSizeBytes,
    },
    [
      `replicated ${printable(image.name)} to ${profile.endpoint} as ${id}: ${exactSizeText(virtualSizeBytes)}`,
      `verified: both have the disk digest ${diskDigest}`,
    ],
  );
  return isClean ? EXIT.ok : EXIT.findings;
}

/** A job of the other service cannot be tried again: what it read from is taken back. */
function atTarget(error: unknown, target: string, source: string): unknown {
  if (!(error instanceof CommandError) || !error.where?.startsWith('job ')) return error;
  const { code, message, where, cause } = error;
  const hint =
    code === 'STORE_REFUSED' || code === 'STORE_UNREACHABLE'
      ? `let ${target} reach ${source}: start it with gantry serve --peer NAME=${source}, or with --allow`
      : 'run the same command again';
  return new CommandError(code, message, { where: `${where} of ${target}`, hint, cause });
}

async function importAt(context: Context, target: ServiceClient, url: string, name: string): Promise<Image> {
  const { job } = await target.startOnce<{ job: Job }>('/images', { name, format: 'oci', source: { url } });
  const { result } = await waitForJob(context, target, job.id, {});
  return target.json<Image>('GET', imagePath(String(result?.imageId)));
}

async function replicateInCloud(
  context: Context,
  image: string,
  options: ReplicateOptions,
): Promise<ExitCode> {
  const { bucket, toBucket, configFile, endpoint, toEndpoint, name, compartment } = options;
  if (bucket === undefined)
    throw usageError('say which bucket the archive goes through', 'name one of your own with --bucket');
  const source = ociPlace(image, 'image');
  const target = ociRegion(options.to);
  const wish: ReplicaWish = {
    source: { profile: source.profile, configFile, endpoint },
    imageId: source.name,
    bucket,
    target: { profile: target.profile, configFile, region: target.name, endpoint: toEndpoint },
    targetBucket: toBucket,
    name,
    compartmentId: compartment,
  };
  const { environment, signal, progress } = context;
  const replica = await replicateCloudImage(wish, { environment, signal, onProgress: progress.step }).catch(
    (error) => {
      if (error instanceof RecipeFailed)
        for (const line of leftoverLines(error.leftovers)) progress.note(line);
      throw error;
    },
  );
  progress.end();
  const { imageId, region, lengthBytes, leftovers } = replica;
  const record = { image: source.name, replica: imageId, name: replica.name, region, lengthBytes };
  await context.output.record({ ...record, leftovers: leftovers.map((each) => ({ ...each })) }, [
    `replicated to ${printable(region)} as ${printable(imageId)}: an archive of ${exactSizeText(lengthBytes)}`,
    ...leftoverLines(leftovers),
  ]);
  return leftovers.length === 0 ? EXIT.ok : EXIT.findings;
}
