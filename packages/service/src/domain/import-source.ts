import { type ByteSource, byteChunks, forwardSource, httpSource, StoreError } from '@gantry/disk';
import type { guardedFetch } from '@gantry/storage';
import { z } from 'zod';
import { DomainError } from './errors.ts';

/** Where an image comes from, as a job's input says it. Addresses may hold secrets and stand elsewhere. */
export const importSource = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('object'), bucket: z.string(), key: z.string() }),
  z.object({ kind: z.literal('url'), shownUrl: z.string() }),
  z.object({ kind: z.literal('stream') }),
]);
export type ImportSource = z.infer<typeof importSource>;

/** An image file, open for one attempt of an import. */
export interface OpenImportSource {
  readonly source: ByteSource;
  /** The version that is read, where another attempt can compare it. */
  readonly version: string | undefined;
  /** It arrives once, front to back: no look ahead, and no second attempt. */
  readonly isStream: boolean;
  /** Called when all was read: throws when the file was not what it was when it was opened. */
  finish(signal: AbortSignal): Promise<void>;
}

/** What is open for a stream import while its request lasts. */
export interface ArrivingBody {
  readonly body: AsyncIterable<Uint8Array>;
  readonly lengthBytes: number;
}

export interface ImportSourceParts {
  /** Opens an object's bytes for a user, pinned: they stay whole while they are read. Throws NOT_FOUND. */
  readonly openObject: (
    userId: string | undefined,
    bucket: string,
    key: string,
  ) => Promise<{ source: ByteSource; etag: string }>;
  /** The whole address of a job's source, secrets included. */
  readonly addressOf: (jobId: string) => Promise<string | undefined>;
  readonly arrivingBody: (jobId: string) => ArrivingBody | undefined;
  readonly fetch: ReturnType<typeof guardedFetch>;
}

export async function openImportSource(
  parts: ImportSourceParts,
  job: { readonly id: string; readonly userId: string | undefined },
  source: ImportSource,
  signal: AbortSignal,
): Promise<OpenImportSource> {
  switch (source.kind) {
    case 'object': {
      const object = await parts.openObject(job.userId, source.bucket, source.key);
      return { source: object.source, version: object.etag, isStream: false, finish: async () => {} };
    }
    case 'url': {
      const address = await parts.addressOf(job.id);
      if (address === undefined) throw new DomainError('NOT_FOUND', `the address of job ${job.id} is gone`);
      const remote = await httpSource(address, { fetch: parts.fetch, signal });
      return { source: remote, version: remote.version, isStream: false, finish: async () => {} };
    }
    case 'stream':
      return openArriving(parts.arrivingBody(job.id));
  }
}

function openArriving(arriving: ArrivingBody | undefined): OpenImportSource {
  if (arriving === undefined) {
    throw new DomainError('UPLOAD_INCOMPLETE', 'the request that brought the image is over', {
      hint: 'send the image again; put it into a bucket first to be able to go on after an interruption',
    });
  }
  const source = forwardSource(arriving.body, arriving.lengthBytes, 'the request body');
  const asCutOff = (error: unknown) => {
    if (!(error instanceof StoreError) && !isBrokenStream(error)) return error;
    return new DomainError(
      'UPLOAD_INCOMPLETE',
      `the image did not arrive whole: ${(error as Error).message}`,
      {
        hint: 'send it again',
        cause: error,
      },
    );
  };
  const drain = (signal?: AbortSignal) =>
    source.drain(signal).catch((error) => Promise.reject(asCutOff(error)));
  return {
    source: {
      name: source.name,
      lengthBytes: source.lengthBytes,
      sequential: true,
      read: (offset, into, signal) =>
        source.read(offset, into, signal).catch((error) => Promise.reject(asCutOff(error))),
      async *rest(fromBytes, signal) {
        try {
          yield* byteChunks(source, fromBytes, signal);
        } catch (error) {
          throw asCutOff(error);
        }
      },
      drain,
      close: () => source.close(),
    },
    version: undefined,
    isStream: true,
    finish: drain,
  };
}

function isBrokenStream(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  return code === 'ECONNRESET' || code === 'ERR_STREAM_PREMATURE_CLOSE' || code === 'ABORT_ERR';
}
