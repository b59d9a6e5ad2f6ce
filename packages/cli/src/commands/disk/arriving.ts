import { constants, createReadStream, fstatSync } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { type ByteSource, forwardSource, openEndedSource } from '@gantry/disk';
import { usageError } from '../../errors/command-error.ts';

/** True for what is read once, front to back: standard input and named pipes. */
export async function isArriving(file: string): Promise<boolean> {
  return file === '-' || (await stat(file).catch(() => undefined))?.isFIFO() === true;
}

/** The name of such a source, for people. */
export function arrivingName(file: string): string {
  return file === '-' ? 'standard input' : file;
}

/** An image that arrives; `lengthBytes` when the user says it. Throws USAGE for a terminal, and for nothing at all. */
export async function openArriving(
  file: string,
  lengthBytes: number | undefined,
  signal: AbortSignal,
): Promise<ByteSource> {
  const name = arrivingName(file);
  if (file === '-' && process.stdin.isTTY) {
    throw usageError('an image is not typed on a terminal', 'lead a file or a command into standard input');
  }
  const stream: Readable = file === '-' ? standardInput() : createReadStream(file);
  signal.addEventListener('abort', () => void letGo(stream, file), { once: true });
  const bytes = chunksOf(stream);
  if (lengthBytes !== undefined) return forwardSource(bytes, lengthBytes, name);
  const source = await openEndedSource(bytes, name, signal);
  if (source.lengthBytes > 0) return source;
  throw usageError(`${name} is empty`, 'lead a file or a command into it');
}

/**
 * A silent sender would hold the process in the opening or the reading of its pipe: both end with a byte that we
 * send, which nobody takes for the image's any more.
 */
async function letGo(stream: Readable, file: string): Promise<void> {
  stream.destroy();
  if (file === '-') return;
  const pipe = await open(file, constants.O_WRONLY + constants.O_NONBLOCK).catch(() => undefined);
  await pipe?.write('\0').catch(() => {});
  await pipe?.close();
}

/** A file that was redirected is read in large pieces, which `process.stdin` does not do. */
function standardInput(): Readable {
  return fstatSync(0).isFile()
    ? createReadStream('', { fd: 0, highWaterMark: 2 ** 18, autoClose: false })
    : process.stdin;
}

/** A generator, so that closing it ends the stream and does not wait for a silent sender. */
async function* chunksOf(stream: Readable): AsyncGenerator<Uint8Array, void, undefined> {
  yield* stream;
}
