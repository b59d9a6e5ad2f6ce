import { RecipeFailed, shareCloudImage } from '@gantry/cloud';
import { connect } from '../../client/client.ts';
import { findImage } from '../../client/images.ts';
import { isOciPlace, ociPlace } from '../../client/oci-place.ts';
import { placeText } from '../../client/paths.ts';
import type { Context } from '../../context.ts';
import { usageError } from '../../errors/command-error.ts';
import { printable, shellWord } from '../../output/printable.ts';
import { timeText } from '../../output/quantities.ts';
import { requireFormatName } from '../disk/image-files.ts';
import { leftoverLines } from './leftovers.ts';
import { shareView } from './views.ts';

interface ShareOptions {
  /** Seconds. */
  readonly expires: number;
  readonly form: string;
  readonly bucket?: string;
  readonly configFile?: string;
  readonly endpoint?: string;
}

const BUCKET = 'gantry-shares';

export async function run(
  context: Context,
  [image]: readonly [string],
  options: ShareOptions,
): Promise<undefined> {
  requireFormatName(options.form, '--form');
  const expiresAtMs = Date.now() + options.expires * 1000;
  if (isOciPlace(image)) await shareInCloud(context, image, options, expiresAtMs);
  else await shareFromService(context, image, options, expiresAtMs);
}

async function shareFromService(
  context: Context,
  idOrName: string,
  { form, bucket }: ShareOptions,
  expiresAtMs: number,
): Promise<void> {
  const client = await connect(context);
  const image = await findImage(client, idOrName);
  const wish = { bucket: bucket ?? BUCKET, format: form, expiresAtMs };
  const { url, place, parId } = await shareView(context, client, image, wish);
  const remove = `gantry object delete ${shellWord(placeText(place))}`;
  await context.output.record(
    {
      image: image.id,
      url,
      expiresAtMs,
      ...place,
      preAuthenticatedRequest: parId,
      diskDigest: image.diskDigest,
    },
    [
      url,
      ...forReceivers(url, image.name, expiresAtMs),
      `Its disk digest: ${image.diskDigest}`,
      `Take it back sooner with: ${remove}`,
    ],
  );
}

function forReceivers(url: string, name: string, expiresAtMs: number): string[] {
  return [
    '',
    `Whoever has this address may read the image until ${timeText(expiresAtMs)}. It is not shown again.`,
    `  gantry image import ${shellWord(url)} --name ${shellWord(printable(name))}`,
    `  oci compute image import from-object-uri --compartment-id COMPARTMENT_OCID --uri ${shellWord(url)}`,
  ];
}

async function shareInCloud(
  context: Context,
  image: string,
  { form, bucket, configFile, endpoint }: ShareOptions,
  expiresAtMs: number,
): Promise<void> {
  if (form !== 'oci') throw usageError('images of OCI are shared as oci', 'leave --form away');
  if (bucket === undefined)
    throw usageError('say which bucket the archive goes into', 'name one of your own with --bucket');
  const { profile, name: imageId } = ociPlace(image, 'image');
  const { environment, signal, progress } = context;
  const wish = {
    source: { profile, configFile, endpoint },
    imageId,
    bucket,
    expiresAt: new Date(expiresAtMs),
  };
  const shared = await shareCloudImage(wish, { environment, signal, onProgress: progress.step }).catch(
    (error) => {
      if (error instanceof RecipeFailed)
        for (const line of leftoverLines(error.leftovers)) progress.note(line);
      throw error;
    },
  );
  progress.end();
  const { url, imageName, namespace, object, preAuthenticatedRequestId } = shared;
  const inBucket = `--namespace ${shellWord(namespace)} --bucket-name ${shellWord(bucket)}`;
  await context.output.record({ image: imageId, ...shared, expiresAtMs }, [
    url,
    ...forReceivers(url, imageName, expiresAtMs),
    'Take it back, and free its room, with:',
    `  oci os preauth-request delete ${inBucket} --par-id ${shellWord(preAuthenticatedRequestId)}`,
    `  oci os object delete ${inBucket} --object-name ${shellWord(object)}`,
  ]);
}
