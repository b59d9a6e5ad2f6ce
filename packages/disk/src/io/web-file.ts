import { ImageError } from '../errors.ts';
import type { ByteSink } from './byte-sink.ts';
import type { ByteSource } from './byte-source.ts';
import type { FileSinkOptions } from './node-file.ts';

// What node-file.ts gives, in a browser, where there are no files by name.

export type { FileSinkOptions };

function refuse(path: string): never {
  throw new ImageError('IMAGE_UNSUPPORTED', `there are no files in a browser: ${path}`, {
    structure: 'file',
    hint: 'read a chosen file with blobSource, a remote one with httpSource; write to memorySink or a sink of yours',
  });
}

export async function fileSource(path: string): Promise<ByteSource> {
  return refuse(path);
}

export async function fileSink(path: string, _options?: FileSinkOptions): Promise<ByteSink> {
  return refuse(path);
}

export async function spooledSource(
  _bytes: AsyncIterable<Uint8Array>,
  folder: string,
  _name: string,
  _signal?: AbortSignal,
): Promise<ByteSource> {
  return refuse(folder);
}

export async function syncFolder(path: string): Promise<void> {
  return refuse(path);
}

/** No source here is a file that could change. */
export async function requireUnchanged(_source: ByteSource): Promise<void> {}

export function fileDescriptorOf(_source: ByteSource): undefined {
  return undefined;
}

export function sinkDescriptorOf(_sink: ByteSink): undefined {
  return undefined;
}

export function storeError(error: unknown, _where: string): unknown {
  return error;
}
