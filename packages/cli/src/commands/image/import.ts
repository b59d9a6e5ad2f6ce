import { stat } from 'node:fs/promises';
import type { Image, Job } from '../../client/api.ts';
import { connect, type ServiceClient } from '../../client/client.ts';
import { imagePath } from '../../client/images.ts';
import { waitForJob, watchHint } from '../../client/jobs.ts';
import { objectPath, type Place, parsePlace, placeText } from '../../client/paths.ts';
import type { Context } from '../../context.ts';
import { usageError } from '../../errors/command-error.ts';
import { shellWord } from '../../output/printable.ts';
import { isHttpAddress, requireFormatName } from '../disk/image-files.ts';
import { printStartedJob } from '../job/print.ts';
import { printImage } from './print.ts';
import { stageFile } from './stage.ts';
import { streamIn } from './stream.ts';

interface ImportOptions {
  readonly name: string;
  readonly format?: string;
  readonly member?: string;
  readonly snapshot?: string;
  readonly wait?: boolean;
  readonly timeout?: number;
  readonly stream?: boolean;
  readonly os?: string;
  readonly osVersion?: string;
  readonly launchMode?: string;
  readonly compartment?: string;
}

export async function run(
  context: Context,
  [source]: readonly [string],
  options: ImportOptions,
): Promise<undefined> {
  if (options.format !== undefined) requireFormatName(options.format, '--format');
  const isLocal = !isHttpAddress(source) && (await isLocalFile(source));
  if (options.stream === true) {
    if (options.os ?? options.osVersion ?? options.launchMode ?? options.compartment) {
      throw usageError('--os, --os-version, --launch-mode and --compartment cannot be sent with --stream');
    }
    if (!isLocal)
      throw usageError(
        '--stream sends a file of this machine',
        'leave it out: the service fetches the rest by itself',
      );
    return streamIn(context, source, options);
  }
  const client = await connect(context);
  if (!isLocal) {
    const from = isHttpAddress(source) ? { url: source } : parsePlace(source);
    return finish(context, client, await startImport(client, options, from), options);
  }
  const place = await stageFile(context, client, source);
  const job = await startImport(client, options, place);
  return finish(context, client, job, options, place);
}

/** A path that exists, or one that cannot be BUCKET/KEY. */
async function isLocalFile(source: string): Promise<boolean> {
  if (!source.includes('/') || /^(?:\.{0,2}\/|~)/.test(source)) return true;
  return (await stat(source).catch(() => undefined)) !== undefined;
}

async function startImport(
  client: ServiceClient,
  options: ImportOptions,
  source: Place | { readonly url: string },
): Promise<Job> {
  const { name, format, member, snapshot, launchMode } = options;
  const { job } = await client.startOnce<{ job: Job }>('/images', {
    name,
    format,
    member,
    snapshot,
    source,
    launchMode,
    operatingSystem: options.os,
    operatingSystemVersion: options.osVersion,
    compartmentId: options.compartment,
  });
  return job;
}

async function finish(
  context: Context,
  client: ServiceClient,
  job: Job,
  options: ImportOptions,
  staged?: Place,
): Promise<undefined> {
  if (options.wait !== true && options.timeout === undefined) {
    context.progress.note(watchHint(job.id));
    if (staged !== undefined) noteLeftover(context, staged);
    await printStartedJob(context, job);
    return;
  }
  try {
    const { result } = await waitForJob(context, client, job.id, options);
    await printImage(context, await client.json<Image>('GET', imagePath(String(result?.imageId))));
    if (staged !== undefined) await client.json('DELETE', objectPath(staged));
  } catch (error) {
    if (staged !== undefined) noteLeftover(context, staged);
    throw error;
  }
}

function noteLeftover({ progress }: Context, staged: Place): void {
  const command = `gantry object delete ${shellWord(placeText(staged))}`;
  progress.note(`the upload is kept; when the import needs it no more, free its room: ${command}`);
}
