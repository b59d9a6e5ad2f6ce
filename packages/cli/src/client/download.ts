import { type ByteSink, type ByteSource, httpSource, isZero, mapOrdered } from '@gantry/disk';
import type { Context } from '../context.ts';
import { CommandError } from '../errors/command-error.ts';
import type { ServiceClient } from './client.ts';

const CHUNK_BYTES = 4 * 1024 * 1024;
const CHUNKS_AT_ONCE = 4;

/** Something that the service keeps, read by ranges of one version of it. */
export function serviceSource(
  client: ServiceClient,
  path: string,
  query: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
): Promise<ByteSource> {
  const headers = { authorization: client.authorization };
  return httpSource(client.address(path, query), { headers, signal });
}

/**
 * The length of something that the service keeps. Throws what the service refuses with its own words, unlike
 * serviceSource, which knows only the status of an answer.
 */
export async function serviceLength(
  client: ServiceClient,
  path: string,
  query: Readonly<Record<string, string | undefined>> = {},
): Promise<number> {
  try {
    const options = { query, headers: { range: 'bytes=0-0' } };
    return await client.send('GET', path, options, async ({ headers, body }) => {
      await body?.cancel();
      return Number(headers.get('content-range')?.split('/')[1]);
    });
  } catch (error) {
    // What is empty has no first byte.
    if (error instanceof CommandError && error.code === 'RANGE_NOT_SATISFIABLE') return 0;
    throw error;
  }
}

/** Copies a source into a sink, several ranges at once, and finishes it; zeros are left as holes. */
export async function copySource(context: Context, source: ByteSource, sink: ByteSink): Promise<void> {
  const { signal, progress } = context;
  const totalBytes = source.lengthBytes;
  let doneBytes = 0;
  const copy = async (offsetBytes: number) => {
    const bytes = new Uint8Array(Math.min(CHUNK_BYTES, totalBytes - offsetBytes));
    await source.read(offsetBytes, bytes, signal);
    if (!isZero(bytes)) await sink.write(offsetBytes, bytes, signal);
    doneBytes += bytes.length;
    progress.step({ phase: 'download', doneBytes, totalBytes });
  };
  try {
    for await (const _ of mapOrdered(chunkStarts(totalBytes), CHUNKS_AT_ONCE, copy)) signal.throwIfAborted();
    await sink.finish(totalBytes);
  } catch (error) {
    await sink.abort();
    throw error;
  } finally {
    progress.end();
  }
}

function* chunkStarts(totalBytes: number): Iterable<number> {
  for (let at = 0; at < totalBytes; at += CHUNK_BYTES) yield at;
}
