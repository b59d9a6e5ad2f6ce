import type { Disk } from '../disk/disk.ts';
import { withZerosFound } from '../disk/zero-detection.ts';
import { ImageError, invariant } from '../errors.ts';
import type { FileSet } from '../formats/format.ts';
import { formatNamed } from '../formats/registry.ts';
import type { ByteSink } from '../io/byte-sink.ts';
import { type ConvertOptions, convert, isPlaced, planFiles } from './convert.ts';
import { writeLayout, writeStream } from './write.ts';

/** A file that was written. */
export interface WrittenFile {
  readonly name: string;
  readonly lengthBytes: number;
}

type SetFile = FileSet['files'][number];

/**
 * Writes the disk as an image of one or of several files: `openSink` gives the place for each name, of which the
 * first is the file to open the image by. Nothing is seen under its name before all of it is written, and the
 * file to open comes last. On any failure every sink is aborted. Gives the files in the order of the plan.
 */
export async function convertFiles(
  disk: Disk,
  openSink: (name: string) => Promise<ByteSink>,
  options: ConvertOptions,
): Promise<readonly WrittenFile[]> {
  const { baseName = 'disk' } = options;
  // To plan a large disk costs milliseconds, even without its data.
  const form = (await isPlaced(disk, options)) ? undefined : await planFiles(withoutData(disk), options);
  if (form?.kind !== 'files') {
    const name = `${baseName}.${formatNamed(options.format).extensions[0] ?? options.format}`;
    return [{ name, lengthBytes: await convert(disk, await openSink(name), options) }];
  }
  requireManyReads(disk, form);
  const set = await planFiles(withZerosFound(disk, options), options);
  invariant(set.kind === 'files', 'zeros do not change what kind a plan is');
  const sinks: ByteSink[] = [];
  try {
    for (const { name } of set.files) sinks.push(await openSink(name));
    const lengths = await writeAll(set, disk, sinks, options);
    await disk.drain?.(options.signal);
    options.signal?.throwIfAborted();
    for (let i = sinks.length - 1; i >= 0; i--) await sinks[i]?.finish(lengths[i] ?? 0);
    return set.files.map(({ name }, i) => ({ name, lengthBytes: lengths[i] ?? 0 }));
  } catch (error) {
    // The first failure is what the caller must hear of.
    for (const sink of sinks) await sink.abort().catch(() => {});
    throw error;
  }
}

/** What kind a plan is depends on the size alone, and is seen at once where there is nothing to look at. */
function withoutData(disk: Disk): Disk {
  return {
    format: disk.format,
    virtualSizeBytes: disk.virtualSizeBytes,
    details: {},
    warnings: [],
    async *extents(from, to) {
      if (from < to) yield { offsetBytes: from, lengthBytes: to - from, kind: 'hole' };
    },
    async read(_, into) {
      into.fill(0);
    },
    async close() {},
  };
}

function requireManyReads(disk: Disk, { format }: FileSet): void {
  if (!disk.sequential) return;
  throw new ImageError(
    'IMAGE_NOT_SEQUENTIAL',
    `this form of ${format} is several files: a disk that arrives once is not written as it`,
    { structure: 'target', hint: 'choose a form of one file, or put the source where it can be read again' },
  );
}

/** The file to open the image by is short and says how long the others are: it is written last. */
async function writeAll(
  set: FileSet,
  disk: Disk,
  sinks: readonly ByteSink[],
  { signal, onProgress }: ConvertOptions,
): Promise<readonly number[]> {
  const totalBytes = set.files.reduce((sum, { plan }) => sum + plannedBytes(plan), 0);
  const lengths: number[] = set.files.map(() => 0);
  let beforeBytes = 0;
  for (let i = set.files.length - 1; i >= 0; i--) {
    const { plan } = set.files[i] as SetFile;
    const sink = sinks[i] as ByteSink;
    const writing = {
      signal,
      onProgress: ({ phase, doneBytes }: { phase: string; doneBytes: number }) =>
        onProgress?.({ phase, doneBytes: Math.min(totalBytes, beforeBytes + doneBytes), totalBytes }),
    };
    lengths[i] =
      plan.kind === 'layout'
        ? await writeLayout(plan, disk, sink, writing)
        : await writeStream(plan, sink, writing);
    beforeBytes += plannedBytes(plan);
  }
  return lengths;
}

function plannedBytes(plan: SetFile['plan']): number {
  return plan.kind === 'layout' ? plan.lengthBytes : plan.maximumLengthBytes;
}
