import { type ByteSink, type ByteSource, convert, type Disk, denyReferences, openDisk } from '@gantry/disk';
import type { Image } from '../../client/api.ts';
import type { ServiceClient } from '../../client/client.ts';
import { copySource, serviceLength, serviceSource } from '../../client/download.ts';
import { imagePath } from '../../client/images.ts';
import { apiPath } from '../../client/paths.ts';
import type { Context } from '../../context.ts';
import { CommandError } from '../../errors/command-error.ts';
import { type StreamOutOptions, streamPlan, streamSource } from '../../output/byte-stream.ts';
import { planTarget } from '../disk/plan.ts';

/** An image as a file of a format, on its way here. */
export interface Form {
  write(sink: ByteSink): Promise<unknown>;
  stream(): Promise<unknown>;
  close(): Promise<void>;
}

export interface FormOptions {
  readonly format: string;
  readonly option?: Readonly<Record<string, string>>;
  readonly compress?: 'zlib' | 'zstd';
}

/** Below that, downloading zeros costs nothing worth saving. */
const MOSTLY_ZEROS_FROM_BYTES = 64 * 1024 * 1024;

/**
 * A form of known length is downloaded as it is. One that is mostly zeros, or whose length is known only at its
 * end, is made here from the compressed blocks, in which zeros take no room: with the image's digest as its
 * seed, as in the service, so that it is the same file.
 */
export async function openForm(
  context: Context,
  client: ServiceClient,
  image: Image,
  options: FormOptions,
): Promise<Form> {
  const view = await openView(context, client, image, options);
  // What an .oci archive says of the image is the service's to say.
  const isArchive = options.format === 'oci';
  if (view !== undefined && (isArchive || !(await isMostlyZeros(client, image, view)))) {
    return {
      write: (sink) => copySource(context, view, sink),
      stream: () => streamSource(view, process.stdout, streamOptions(context)),
      close: () => view.close(),
    };
  }
  await view?.close();
  const said = isArchive && options.option === undefined ? await archiveDocument(context, client, image) : {};
  return madeHere(context, client, image, { ...options, ...said });
}

/** What the service says in archives of the image: from the one that it shows. */
async function archiveDocument(
  context: Context,
  client: ServiceClient,
  image: Image,
): Promise<Pick<FormOptions, 'option'>> {
  const archive = await openView(context, client, image, { format: 'oci' });
  if (archive === undefined) return {};
  try {
    const disk = await openDisk(archive, {
      references: denyReferences,
      format: 'oci',
      signal: context.signal,
    });
    const { metadata } = disk.details;
    await disk.close();
    return { option: { metadata: `${JSON.stringify(metadata, null, 2)}\n` } };
  } finally {
    await archive.close();
  }
}

function streamOptions({ signal, progress }: Context): StreamOutOptions {
  return { signal, onProgress: progress.step };
}

/** The form as the service shows it; undefined for one whose length is known only at its end. */
async function openView(
  context: Context,
  client: ServiceClient,
  image: Image,
  { format, option, compress }: FormOptions,
): Promise<ByteSource | undefined> {
  const path = viewPath(image, format);
  const query = { ...option, compression: compress };
  try {
    await serviceLength(client, path, query);
  } catch (error) {
    if (error instanceof CommandError && error.code === 'NOT_A_VIEW') return undefined;
    throw error;
  }
  return serviceSource(client, path, query, context.signal);
}

function viewPath({ id }: Image, format: string): string {
  return `${imagePath(id)}${apiPath('as', format)}`;
}

/** Compared with the qcow2 form, which is about as long as the image's data. */
async function isMostlyZeros(client: ServiceClient, image: Image, view: ByteSource): Promise<boolean> {
  if (view.lengthBytes < MOSTLY_ZEROS_FROM_BYTES) return false;
  return view.lengthBytes > 2 * (await serviceLength(client, viewPath(image, 'qcow2')));
}

async function madeHere(
  context: Context,
  client: ServiceClient,
  image: Image,
  { format, option, compress }: FormOptions,
): Promise<Form> {
  const { signal } = context;
  const source = await serviceSource(client, viewPath(image, 'qcow2'), { compression: 'zstd' }, signal);
  const opened = await openDisk(source, { format: 'qcow2', references: denyReferences, signal });
  const disk = shortened(opened, image.virtualSizeBytes);
  const seed = seedOf(image);
  const plan = { options: option ?? {}, compression: compress, seed };
  return {
    write: (sink) => convert(disk, sink, { format, ...plan, signal, onProgress: context.progress.step }),
    async stream() {
      const request = { option: option ?? {}, ...(compress && { compress }), seed };
      const planned = await planTarget(context, disk, format, request);
      await streamPlan(planned, disk, process.stdout, streamOptions(context));
    },
    async close() {
      await opened.close();
      await source.close();
    },
  };
}

/** qcow2 knows whole sectors only: what it added to the end of the disk is taken away. */
function shortened(disk: Disk, virtualSizeBytes: number): Disk {
  const { format, details, warnings } = disk;
  return {
    format,
    details,
    warnings,
    virtualSizeBytes: Math.min(virtualSizeBytes, disk.virtualSizeBytes),
    extents: (from, to, signal) => disk.extents(from, to, signal),
    read: (offset, into, signal) => disk.read(offset, into, signal),
    close: () => disk.close(),
  };
}

/** The 32 bytes of `disk1:…`. */
function seedOf({ diskDigest: digest }: Image): Uint8Array {
  return Uint8Array.fromHex(digest.slice(digest.indexOf(':') + 1));
}
