import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Checksums } from '../../domain/checksums.ts';
import { DomainError } from '../../domain/errors.ts';

/** How long a client that was refused may go on sending before its connection is cut. */
const LINGER_MS = 10_000;

/**
 * Makes the routes of this plugin take any body of any type and length as it arrives: see requestBody. Does not
 * touch the routes outside.
 */
export function takeBodiesAsStreams(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, payload, done) => done(null, payload));
  app.addHook('onError', async (request) => discardRest(request.raw));
}

/**
 * The body of a request, chunk by chunk. Throws UPLOAD_INCOMPLETE when the client goes away before its end. When
 * the reader stops early the connection stays, so that the client can be told why.
 */
export async function* requestBody(request: FastifyRequest): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* request.raw.iterator({ destroyOnReturn: false });
  } catch (error) {
    throw new DomainError('UPLOAD_INCOMPLETE', 'the client went away before all bytes had arrived', {
      hint: 'send them again',
      cause: error,
    });
  }
}

/** What the client says about the length, the digest and the form of a body that is kept as it is. */
export interface BodyHeaders {
  readonly expectedBytes: number | undefined;
  readonly expected: Checksums;
}

/**
 * Reads them. Throws INVALID for what would be lost: a content coding where none is kept, a part of an object.
 */
export function bodyHeaders(request: FastifyRequest, options: { keepsCoding?: boolean } = {}): BodyHeaders {
  const { headers } = request;
  const coding = headers['content-encoding'];
  if (coding !== undefined && coding !== 'identity' && options.keepsCoding !== true) {
    throw new DomainError('INVALID', `the Content-Encoding ${coding} would not be kept`, {
      hint: 'send the bytes as they are to be stored, without that header',
    });
  }
  if (headers['content-range'] !== undefined) {
    throw new DomainError('INVALID', 'a part of an object cannot be replaced', {
      hint: 'send the whole object, or upload it in parts',
    });
  }
  const length = headers['content-length'];
  return {
    expectedBytes: length === undefined ? undefined : Number(length),
    expected: { md5: contentMd5(headers['content-md5']) },
  };
}

/** Content-MD5 (RFC 1864): base64 of 16 bytes. */
function contentMd5(header: string | string[] | undefined): string | undefined {
  if (header === undefined) return undefined;
  const md5 = Buffer.from(String(header), 'base64');
  if (md5.length === 16) return md5.toString('base64');
  throw new DomainError('INVALID', 'Content-MD5 is the base64 of 16 bytes');
}

/**
 * Reads on, for a while, what a client sends that was refused already. A connection that is closed on unread bytes
 * is reset, and the answer may be lost on its way.
 */
function discardRest(message: IncomingMessage): void {
  if (message.complete || message.destroyed) return;
  const timer = setTimeout(() => message.destroy(), LINGER_MS);
  message.once('close', () => clearTimeout(timer));
  message.resume();
}
