import type { Disk } from '../disk/disk.ts';
import { mappedDisk } from '../disk/mapped-disk.ts';
import { withZerosFound, ZERO_UNIT_BYTES } from '../disk/zero-detection.ts';
import { ImageError, invariant } from '../errors.ts';
import type { FileSet, Format, WriteRequest } from '../formats/format.ts';
import { formatNamed, formats } from '../formats/registry.ts';
import type { ByteSink } from '../io/byte-sink.ts';
import { randomSeed } from '../io/node-hash.ts';
import type { BlockPlacement } from '../view/block-placement.ts';
import type { ImageStream } from '../view/image-stream.ts';
import type { Layout } from '../view/layout.ts';
import { copyBlocks } from './copy-blocks.ts';
import type { ProgressListener } from './progress.ts';
import { writeLayout, writeMetadata, writeStream } from './write.ts';

export interface PlanOptions {
  /** Name of the format to write. */
  readonly format: string;
  /** `-O` options by name. */
  readonly options?: Readonly<Record<string, string>>;
  readonly compression?: 'zlib' | 'zstd' | undefined;
  /** 32 bytes from which identifiers in the file derive; random when not given. */
  readonly seed?: Uint8Array | undefined;
  /** Name of the target without folder and ending, for images of several files. Default `disk`. */
  readonly baseName?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ConvertOptions extends PlanOptions {
  readonly onProgress?: ProgressListener | undefined;
}

/**
 * Plans the file of a format that shows this disk: a layout of exact length, or a stream. Throws IMAGE_OPTION
 * for options that the format does not take and for those that make more than one file, IMAGE_UNSUPPORTED for a
 * format that is not written, IMAGE_LIMIT for a disk that the format cannot hold.
 */
export async function planImage(disk: Disk, options: PlanOptions): Promise<Layout | ImageStream> {
  return requireOneFile(await planFiles(disk, options));
}

/**
 * Plans a compressed form out of compressed data that the disk has already: a layout of exact length, any range of
 * which can be read, as of the forms that are not compressed. Undefined where some of the data would have to be
 * compressed (also a plain unit that the disk's end cuts), where none is compressed, or where the form has no such layout;
 * `planImage` then gives a stream. All compressed data is decompressed once, which shows where it ends and that it is
 * sound. Throws what `planImage` throws, and IMAGE_MALFORMED for damaged data.
 */
export async function planStored(disk: Disk, options: ConvertOptions): Promise<Layout | undefined> {
  return writtenFormat(options).planStored?.(disk, writeRequest(options), options.onProgress);
}

function requireOneFile(plan: Layout | ImageStream | FileSet): Layout | ImageStream {
  if (plan.kind !== 'files') return plan;
  throw new ImageError('IMAGE_OPTION', `this form of ${plan.format} is ${plan.files.length} files`, {
    structure: 'target',
    hint: 'write it into a folder with the command, or choose a form of one file',
  });
}

/** As `planImage`, for targets that take images of several files too. */
export async function planFiles(disk: Disk, options: PlanOptions): Promise<Layout | ImageStream | FileSet> {
  return writtenFormat(options).plan(disk, writeRequest(options));
}

type WrittenFormat = Format & Required<Pick<Format, 'plan'>>;

function isWritten(format: Format): format is WrittenFormat {
  return format.plan !== undefined;
}

/** The format to write, its options known. */
function writtenFormat(options: PlanOptions): WrittenFormat {
  const format = formatNamed(options.format);
  requireKnownOptions(format, options);
  if (isWritten(format)) return format;
  throw new ImageError('IMAGE_UNSUPPORTED', `${format.title} is not written`, {
    structure: 'target format',
    hint: `choose one of ${formats
      .filter(isWritten)
      .map(({ name }) => name)
      .join(', ')}`,
  });
}

function writeRequest({
  options = {},
  compression,
  seed,
  baseName = 'disk',
  signal,
}: PlanOptions): WriteRequest {
  let chosen = seed;
  return {
    options,
    compression,
    // Many formats have no identifiers, and what makes random numbers takes milliseconds to load.
    get seed() {
      chosen ??= randomSeed(32);
      return chosen;
    },
    baseName,
    signal,
  };
}

function requireKnownOptions(format: Format, options: PlanOptions): void {
  const known = (format.options ?? []).map((option) => option.name);
  const unknown = Object.keys(options.options ?? {}).find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new ImageError('IMAGE_OPTION', `${format.title} has no option ${JSON.stringify(unknown)}`, {
      structure: `option ${unknown}`,
      hint: known.length === 0 ? 'it takes no options' : `it takes ${known.join(', ')}`,
    });
  }
  const { compression } = options;
  if (compression !== undefined && !format.compressions?.includes(compression)) {
    throw new ImageError('IMAGE_OPTION', `${format.title} cannot be compressed with ${compression}`, {
      structure: 'compression',
      hint: `it takes ${format.compressions?.join(', ') || 'no compression'}`,
    });
  }
}

/**
 * Writes the disk as a file of a format and finishes the sink; on any failure the sink is aborted. Zeros in
 * uncompressed data are found and not stored. Gives the file's length in bytes.
 */
export async function convert(disk: Disk, sink: ByteSink, options: ConvertOptions): Promise<number> {
  try {
    const lengthBytes = await writeDisk(disk, sink, options);
    // What the source ends with may prove it wrong.
    await disk.drain?.(options.signal);
    options.signal?.throwIfAborted();
    await sink.finish(lengthBytes);
    return lengthBytes;
  } catch (error) {
    // The first failure is what the caller must hear of.
    await sink.abort().catch(() => {});
    throw error;
  }
}

/**
 * The disk with its zeros found just as finely as `convert` with the same options finds them, so that what is planned
 * from it is as long as what that writes.
 */
export async function withZerosToConvert(
  disk: Disk,
  options: PlanOptions & { readonly onProgress?: ProgressListener | undefined },
): Promise<Disk> {
  const placement = await placementOf(disk, writtenFormat(options), writeRequest(options));
  const unitBytes = Math.min(placement?.blockBytes ?? ZERO_UNIT_BYTES, ZERO_UNIT_BYTES);
  return withZerosFound(disk, { unitBytes, onProgress: options.onProgress });
}

/** True for a form whose place for data is known, which is one file. Throws what `planImage` throws for the size. */
export async function isPlaced(disk: Disk, options: PlanOptions): Promise<boolean> {
  return (await placementOf(disk, writtenFormat(options), writeRequest(options))) !== undefined;
}

async function placementOf(
  { virtualSizeBytes }: Disk,
  format: WrittenFormat,
  request: WriteRequest,
): Promise<BlockPlacement | undefined> {
  return request.compression === undefined ? format.placement?.(virtualSizeBytes, request) : undefined;
}

async function writeDisk(disk: Disk, sink: ByteSink, options: ConvertOptions): Promise<number> {
  const format = writtenFormat(options);
  const request = writeRequest(options);
  const placement = await placementOf(disk, format, request);
  if (placement === undefined) return writePlanned(disk, sink, format, request, options);
  const map = await copyBlocks(disk, sink, placement, options);
  const plan = await format.plan(mappedDisk(disk, map), request);
  invariant(plan.kind === 'layout', 'a format with a placement plans a layout');
  await writeMetadata(plan, sink, options.signal);
  return plan.lengthBytes;
}

/** A stream finds the zeros by itself and goes forward only; a layout is planned from a disk that was looked at. */
async function writePlanned(
  disk: Disk,
  sink: ByteSink,
  format: WrittenFormat,
  request: WriteRequest,
  options: ConvertOptions,
): Promise<number> {
  const plan = requireOneFile(await format.plan(disk, request));
  if (plan.kind === 'stream') return writeStream(plan, sink, options);
  const layout = await format.plan(withZerosFound(disk, options), request);
  invariant(layout.kind === 'layout', 'zeros do not change what kind a plan is');
  return writeLayout(layout, disk, sink, options);
}
