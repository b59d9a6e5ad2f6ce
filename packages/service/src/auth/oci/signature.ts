import { createHash, verify } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { SignatureParameters } from './authorization.ts';
import { SignatureRefused } from './authorization.ts';

/** A request as its client sent it. */
export interface SentRequest {
  readonly method: string;
  /** Path and query, undecoded, with whatever prefix was cut off since. */
  readonly target: string;
  readonly headers: IncomingHttpHeaders;
}

/** OCI refuses a date that differs by more (Request Signatures, "Required credentials and OCIDs"). */
const CLOCK_SKEW_MS = 5 * 60 * 1000;
const TARGET = '(request-target)';
const BODY_HEADERS: readonly string[] = ['content-type', 'content-length', 'x-content-sha256'];

/**
 * Throws SignatureRefused unless version and algorithm are ours, at least the target, the host and a date of now are
 * signed, and of a request `withBody` its type, length and hash as well.
 */
export function requireSignedParts(
  { version, algorithm, headers }: SignatureParameters,
  request: SentRequest,
  { withBody, nowMs }: { withBody: boolean; nowMs: number },
): void {
  if (version !== undefined && version !== '1') throw new SignatureRefused(`the version is ${version}`);
  if (algorithm.toLowerCase() !== 'rsa-sha256') throw new SignatureRefused(`the algorithm is ${algorithm}`);
  if (new Set(headers).size < headers.length) throw new SignatureRefused('a header is listed twice');
  const dated = headers.includes('x-date') ? 'x-date' : 'date';
  for (const name of [TARGET, 'host', dated, ...(withBody ? BODY_HEADERS : [])]) {
    if (!headers.includes(name)) throw new SignatureRefused(`${name} is not signed`);
  }
  const date = request.headers[dated];
  const skewMs = Math.abs(Date.parse(typeof date === 'string' ? date : '') - nowMs);
  if (!(skewMs <= CLOCK_SKEW_MS)) throw new SignatureRefused(`${dated} is not within 5 minutes of ${nowMs}`);
}

/** Whether the signature is the key's over what it says that it signs. Throws SignatureRefused for what is absent. */
export function isSignedBy(
  publicKeyPem: string,
  { headers, signature }: SignatureParameters,
  request: SentRequest,
): boolean {
  const verifies = (target: string) =>
    verify('sha256', Buffer.from(signingString(headers, request, target)), publicKeyPem, signature);
  if (verifies(request.target)) return true;
  const asTyped = asSdkSigns(request.target);
  return asTyped !== request.target && verifies(asTyped);
}

function signingString(names: readonly string[], request: SentRequest, target: string): string {
  const lines = names.map((name) => {
    if (name === TARGET) return `${TARGET}: ${request.method.toLowerCase()} ${target}`;
    const value = request.headers[name];
    if (typeof value !== 'string') throw new SignatureRefused(`${name} is signed but was not sent`);
    return `${name}: ${value}`;
  });
  return lines.join('\n');
}

/**
 * Where the TypeScript SDK (2.139.1) signs another target than it sends: characters beyond ASCII in a query are
 * signed as they were typed and sent percent-encoded, an apostrophe in a path the other way round.
 */
function asSdkSigns(sent: string): string {
  const target = sent.replaceAll("'", '%27');
  const at = target.indexOf('?');
  if (at < 0) return target;
  const query = target.slice(at).replace(/(?:%[89a-f][0-9a-f])+/gi, (encoded) => {
    try {
      return decodeURIComponent(encoded);
    } catch {
      return encoded;
    }
  });
  return target.slice(0, at) + query;
}

/** Throws SignatureRefused unless the body is the one whose hash was signed; requests without one may sign none. */
export function requireSignedBody(headers: IncomingHttpHeaders, body: Uint8Array): void {
  if (body.length === 0 && headers['x-content-sha256'] === undefined) return;
  const hash = createHash('sha256').update(body).digest('base64');
  if (headers['x-content-sha256'] !== hash) throw new SignatureRefused('x-content-sha256 is of another body');
}
