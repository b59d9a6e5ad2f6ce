import { type ByteSource, byteChunks, forwardSource, httpSource, StoreError } from '@gantry/disk';
import type { guardedFetch } from '@gantry/storage';
import { z } from 'zod';
import type { Principal } from '../auth/tokens.ts';
import type { Job } from '../jobs/job.ts';
import { DomainError } from './errors.ts';
import type { OpenObject } from './object-reader.ts';
import { openPeerImage, type PeerImage } from './peer-image.ts';
import type { ObjectPlace, StoredObject } from './stored-object.ts';

/** Where an image comes from, as a job's input says it. Addresses may hold secrets and stand elsewhere. */
export const importSource = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('object'), bucket: z.string(), key: z.string() }),
  /** A pre-authenticated request of this service: read without a connection. */
  z.object({ kind: z.literal('par'), shownUrl: z.string() }),
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
  /** What it shows, when it is an image of this service: then nothing is copied. */
  readonly view: StoredObject['view'];
  /** Its blocks, when it is an image of another region's service: then only those are copied that lack here. */
  readonly peer: PeerImage | undefined;
  /** Called when all was read: throws when the file was not what it was when it was opened. */
  finish(signal: AbortSignal): Promise<void>;
}

/** What is open for a stream import while its request lasts. */
export interface ArrivingBody {
  readonly body: AsyncIterable<Uint8Array>;
  readonly lengthBytes: number;
}

export interface ImportSourceParts {
  /** Who asked for a job, with the rights of now. Throws NOT_FOUND. */
  readonly requirePrincipal: (userId: string | undefined) => Promise<Principal>;
  /** Opens an object's bytes, pinned: they stay whole while they are read. Throws NOT_FOUND, FORBIDDEN. */
  readonly openObject: (place: ObjectPlace) => Promise<OpenObject>;
  /** The object that an address of a pre-authenticated request lets read. Throws NOT_FOUND. */
  readonly parPlace: (url: URL, action: 'read') => Promise<ObjectPlace>;
  /** The whole address of a job's source, secrets included. */
  readonly addressOf: (jobId: string) => Promise<string | undefined>;
  readonly arrivingBody: (jobId: string) => ArrivingBody | undefined;
  readonly fetch: ReturnType<typeof guardedFetch>;
  /** Whether an address is one of another region's service. */
  readonly isPeer: (url: URL) => boolean;
}

export async function openImportSource(
  parts: ImportSourceParts,
  job: Pick<Job, 'id' | 'userId'>,
  source: ImportSource,
  signal: AbortSignal,
): Promise<OpenImportSource> {
  switch (source.kind) {
    case 'object': {
      const { bucket, key } = source;
      return openPlace(parts, { principal: await parts.requirePrincipal(job.userId), bucket, key });
    }
    case 'par':
      return openPlace(parts, await parts.parPlace(new URL(await requireAddress(parts, job)), 'read'));
    case 'url': {
      const address = await requireAddress(parts, job);
      const { fetch } = parts;
      const remote = await httpSource(address, { fetch, signal });
      const peer = parts.isPeer(new URL(address)) ? await openPeerImage(address, fetch, signal) : undefined;
      return { ...pinned(remote), version: remote.version, peer };
    }
    case 'stream':
      return openArriving(parts.arrivingBody(job.id));
  }
}

async function openPlace(parts: ImportSourceParts, place: ObjectPlace): Promise<OpenImportSource> {
  const { object, source, etag } = await parts.openObject(place);
  return { ...pinned(source), version: etag, view: object.view };
}

function pinned(source: ByteSource): OpenImportSource {
  return {
    source,
    version: undefined,
    isStream: false,
    view: undefined,
    peer: undefined,
    finish: async () => {},
  };
}

async function requireAddress({ addressOf }: ImportSourceParts, { id }: Pick<Job, 'id'>): Promise<string> {
  const address = await addressOf(id);
  if (address !== undefined) return address;
  throw new DomainError('NOT_FOUND', `the address of job ${id} is kept no more`, {
    hint: 'start the import anew, with its address',
  });
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
    ...pinned({
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
    }),
    isStream: true,
    finish: drain,
  };
}

function isBrokenStream(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  return code === 'ECONNRESET' || code === 'ERR_STREAM_PREMATURE_CLOSE' || code === 'ABORT_ERR';
}
