import http from 'node:http';
import https from 'node:https';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { StoreError, shownAddress } from '@gantry/disk';

export interface TimedRequestOptions extends http.RequestOptions {
  readonly signal: AbortSignal;
  /** From the start to an open connection, name resolved and TLS agreed. */
  readonly connectTimeoutMs: number;
  /** Without a byte in either direction. */
  readonly idleTimeoutMs: number;
  /** Sent as it comes, no faster than it is taken. */
  readonly body?: AsyncIterable<Uint8Array> | undefined;
}

/**
 * Sends a request and gives the answer's head; the body is the message itself. Rejects with
 * STORE_UNREACHABLE when no answer comes, with a StoreError of `lookup` as it is, and with the signal's reason.
 */
export function timedRequest(url: URL, options: TimedRequestOptions): Promise<http.IncomingMessage> {
  const { signal, connectTimeoutMs, idleTimeoutMs, body } = options;
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
  const request = (url.protocol === 'https:' ? https : http).request(url, options);
  const where = shownAddress(url);
  const giveUp = (what: string) => {
    request.destroy(new StoreError('STORE_UNREACHABLE', `${where}: ${what}`, { where }));
  };
  limitConnecting(request, connectTimeoutMs, giveUp);
  limitSilence(request, idleTimeoutMs, giveUp);
  request.on('error', (error) => {
    if (signal.aborted) reject(signal.reason);
    else if (error instanceof StoreError) reject(error);
    else {
      const message = `${where}: ${error.message}`;
      reject(new StoreError('STORE_UNREACHABLE', message, { where, cause: error }));
    }
  });
  request.on('response', (response) => {
    // Who reads the body sees its failure; when nobody does, nobody needs to.
    response.on('error', () => {});
    resolve(response);
  });
  if (body === undefined) request.end();
  else {
    pipeline(Readable.from(body, { objectMode: false }), request).catch((error) => {
      // A failure of the connection is told by the request itself; this one may be the body's.
      request.destroy();
      reject(signal.aborted ? signal.reason : error);
    });
  }
  return promise;
}

function limitConnecting(request: http.ClientRequest, limitMs: number, giveUp: (what: string) => void): void {
  const timer = setTimeout(() => giveUp(`no connection within ${limitMs} ms`), limitMs);
  const stop = () => clearTimeout(timer);
  request.on('socket', (socket) => {
    // A connection that is used again stands already.
    if (!socket.connecting) stop();
    else socket.once(request.protocol === 'https:' ? 'secureConnect' : 'connect', stop);
  });
  request.on('close', stop);
}

function limitSilence(request: http.ClientRequest, limitMs: number, giveUp: (what: string) => void): void {
  let unreadBytes = () => 0;
  request.on('response', (response) => {
    unreadBytes = () => response.readableLength;
  });
  request.setTimeout(limitMs);
  request.on('timeout', () => {
    // While bytes wait to be read it is the reader who is slow.
    if (unreadBytes() === 0) giveUp(`nothing arrived for ${limitMs} ms`);
  });
}
