import type { Writable } from 'node:stream';
import {
  type ByteSource,
  type Disk,
  ImageError,
  type ImageStream,
  type Layout,
  mapOrdered,
  StoreError,
  viewOfLayout,
} from '@gantry/disk';
import { usageError } from '../errors/command-error.ts';
import type { Step } from '../progress/meter.ts';
import { OutputClosed, writeAll } from './write.ts';

const CHUNK_BYTES = 1024 * 1024;
const CHUNKS_AT_ONCE = 6;

export interface StreamOutOptions {
  readonly signal: AbortSignal;
  readonly onProgress: (step: Step) => void;
}

/** Throws USAGE when standard output is a terminal: the bytes of an image would garble it. */
export function requireNoTerminal(stdout: { readonly isTTY?: boolean }): void {
  if (stdout.isTTY === true) {
    throw usageError(
      'an image is not written onto a terminal',
      'lead standard output into a file or a command',
    );
  }
}

/** Writes a planned image in the order of its bytes. Throws IMAGE_NOT_SEQUENTIAL when it has no such order. */
export async function streamPlan(
  plan: Layout | ImageStream,
  disk: Disk,
  stdout: Writable,
  options: StreamOutOptions,
): Promise<number> {
  if (plan.kind === 'layout') return streamSource(viewOfLayout(plan, disk), stdout, options);
  if (plan.frontBytes > 0) {
    throw new ImageError(
      'IMAGE_NOT_SEQUENTIAL',
      `the start of a compressed ${plan.format} is known at its end`,
      {
        structure: 'standard output',
        hint: 'write it to a file, or choose a form that is not compressed',
      },
    );
  }
  let lengthBytes = 0;
  for await (const { bytes } of plan.chunks(options)) {
    await writeBytes(stdout, bytes);
    lengthBytes += bytes.length;
  }
  return lengthBytes;
}

/** Writes all bytes of a source in order, some of them read ahead. */
export async function streamSource(
  source: ByteSource,
  stdout: Writable,
  { signal, onProgress }: StreamOutOptions,
): Promise<number> {
  const totalBytes = source.lengthBytes;
  const read = async (offsetBytes: number) => {
    const bytes = new Uint8Array(Math.min(CHUNK_BYTES, totalBytes - offsetBytes));
    await source.read(offsetBytes, bytes, signal);
    return bytes;
  };
  let doneBytes = 0;
  for await (const bytes of mapOrdered(chunkStarts(totalBytes), CHUNKS_AT_ONCE, read)) {
    signal.throwIfAborted();
    await writeBytes(stdout, bytes);
    doneBytes += bytes.length;
    onProgress({ phase: 'copy', doneBytes, totalBytes });
  }
  return totalBytes;
}

function* chunkStarts(totalBytes: number): Iterable<number> {
  for (let at = 0; at < totalBytes; at += CHUNK_BYTES) yield at;
}

/** Unlike text, an image that nobody reads to its end is a failure. */
async function writeBytes(stdout: Writable, bytes: Uint8Array): Promise<void> {
  try {
    await writeAll(stdout, bytes);
  } catch (error) {
    if (!(error instanceof OutputClosed)) throw error;
    throw new StoreError('STORE_IO', 'what reads standard output went away before the end', {
      where: 'standard output',
    });
  }
}
