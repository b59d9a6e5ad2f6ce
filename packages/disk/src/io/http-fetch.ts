import { utf8Bytes } from '../bytes/fields.ts';

/**
 * What reading over HTTP needs of `fetch`: the global one has this shape. Follows redirects. With a Range header
 * it sends `Accept-Encoding: identity` (Fetch Standard, HTTP-network-or-cache fetch).
 */
export type HttpFetch = (address: string, init: HttpRequestInit) => Promise<HttpAnswer>;

export interface HttpRequestInit {
  readonly method: 'GET' | 'HEAD';
  readonly headers: Record<string, string>;
  readonly signal: AbortSignal;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: { get(name: string): string | null };
  /** To be read to its end, or left by aborting the request's signal. */
  readonly body: AsyncIterable<Uint8Array> | null;
}

/**
 * An address as messages and logs may show it: without user, password and query, where signed addresses
 * carry their secret, and without the token in the path of a pre-authenticated request (`/p/TOKEN/...`, or below a prefix
 * `/p/TOKEN/n/...`).
 */
export function shownAddress(address: URL): string {
  return `${address.origin}${address.pathname.replace(/^\/p\/[^/]+\/|\/p\/[^/]+\/(?=n\/)/, '/p/.../')}`;
}

/**
 * Moves user and password of an address into the Authorization header (the Basic scheme, RFC 7617), unless that
 * is given. The global fetch refuses addresses that carry them.
 */
export function moveCredentials(address: URL, headers: Record<string, string>): void {
  if (address.username === '' && address.password === '') return;
  const pair = `${percentDecoded(address.username)}:${percentDecoded(address.password)}`;
  headers.authorization ??= `Basic ${btoa(String.fromCharCode(...utf8Bytes(pair)))}`;
  address.username = '';
  address.password = '';
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
