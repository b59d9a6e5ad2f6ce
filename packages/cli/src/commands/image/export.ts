import type { Image, Job } from '../../client/api.ts';
import { connect, type ServiceClient } from '../../client/client.ts';
import { findImage, imagePath } from '../../client/images.ts';
import { waitForJob, watchHint } from '../../client/jobs.ts';
import { apiPath, parsePlace } from '../../client/paths.ts';
import type { Context } from '../../context.ts';
import { CommandError, usageError } from '../../errors/command-error.ts';
import { requireNoTerminal } from '../../output/byte-stream.ts';
import { printable, shellWord } from '../../output/printable.ts';
import { exactSizeText } from '../../output/quantities.ts';
import { targetPath } from '../../output/target-file.ts';
import { requireFormatName } from '../disk/image-files.ts';
import { printJob, printStartedJob } from '../job/print.ts';
import { type Form, type FormOptions, openForm } from './form.ts';
import { writeVerified } from './verified.ts';

interface ExportOptions extends FormOptions {
  readonly to: string;
  readonly materialize?: boolean;
  readonly wait?: boolean;
  readonly timeout?: number;
}

export async function run(
  context: Context,
  [idOrName]: readonly [string],
  options: ExportOptions,
): Promise<undefined> {
  requireFormatName(options.format, '--format');
  const { to } = options;
  const isHere = to === '-' || !to.includes('/') || /^\.{0,2}\//.test(to);
  if (isHere && (options.materialize || options.wait || options.timeout !== undefined)) {
    throw usageError('--materialize, --wait and --timeout are for exports into a bucket');
  }
  if (to === '-') requireNoTerminal(process.stdout);
  if (options.option !== undefined && Object.hasOwn(options.option, 'compression')) {
    throw usageError('compression is no option of a format', 'ask for it with --compress');
  }
  const path = isHere && to !== '-' ? await targetPath(to, []) : undefined;
  const client = await connect(context);
  const image = await findImage(client, idOrName);
  if (!isHere) return exportToBucket(context, client, image, options);
  const form = await openForm(context, client, image, options);
  try {
    if (path === undefined) await form.stream();
    else await exportToFile(context, image, form, path, options);
  } finally {
    await form.close();
  }
}

async function exportToBucket(
  context: Context,
  client: ServiceClient,
  image: Image,
  options: ExportOptions,
): Promise<undefined> {
  const { format, option, compress, materialize, wait, timeout } = options;
  const place = parsePlace(options.to);
  const request = { format, options: option, compression: compress, ...place, materialize };
  await requireBucket(client, place.bucket, options.to);
  const { job } = await client.startOnce<{ job: Job }>(`${imagePath(image.id)}/exports`, request);
  if (wait !== true && timeout === undefined) {
    context.progress.note(watchHint(job.id));
    await printStartedJob(context, job);
    return;
  }
  await printJob(context, await waitForJob(context, client, job.id, { timeout }));
}

/** Found missing now, while it can still be said what else may have been meant. */
async function requireBucket(client: ServiceClient, bucket: string, target: string): Promise<void> {
  try {
    await client.json('GET', apiPath('buckets', bucket));
  } catch (error) {
    if (!(error instanceof CommandError) || error.code !== 'NOT_FOUND') throw error;
    const hint = `make it with gantry bucket create ${shellWord(bucket)}, or write ${shellWord(`./${target}`)} for a file here`;
    throw new CommandError(error.code, error.message, { hint });
  }
}

async function exportToFile(
  context: Context,
  image: Image,
  form: Form,
  path: string,
  { to, format }: ExportOptions,
): Promise<void> {
  const lengthBytes = await writeVerified(context, image, form, { path, format });
  const { id, diskDigest: digest } = image;
  await context.output.record(
    { image: id, target: to, format, lengthBytes, diskDigest: digest, verified: true },
    [
      `wrote ${printable(to)} as ${format}: ${exactSizeText(lengthBytes)}`,
      `verified: it was read back and has the disk digest of the image, ${digest}`,
    ],
  );
}
