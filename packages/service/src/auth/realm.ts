import { createHash, createHmac, timingSafeEqual } from 'node:crypto';

/** A request from one region's service to another's, as far as its signature goes. */
export interface RealmRequest {
  /** The region that it is meant for. */
  readonly region: string;
  readonly method: string;
  /** From `/realm` on, as it was sent. */
  readonly target: string;
  /** RFC 9110's form. */
  readonly date: string;
  /** Of the body, in hex; or BODY_LATER. */
  readonly bodySha256: string;
}

/** For a body whose hash a later request tells, which alone makes use of it. */
export const BODY_LATER = 'later';
/** As OCI bounds it for its own signatures. */
const CLOCK_SKEW_MS = 5 * 60 * 1000;

/** HMAC-SHA256 (RFC 2104) over what a request is, in base64. */
export function realmSignature(key: Uint8Array, request: RealmRequest): string {
  const { region, method, target, date, bodySha256 } = request;
  const text = ['gantry-realm-1', region, method.toUpperCase(), target, date, bodySha256].join('\n');
  return createHmac('sha256', key).update(text).digest('base64');
}

/** Whether the request was signed with the key, a moment ago. */
export function isRealmSigned(
  key: Uint8Array,
  request: RealmRequest,
  signature: string,
  nowMs: number,
): boolean {
  const skewMs = Math.abs(Date.parse(request.date) - nowMs);
  if (!(skewMs <= CLOCK_SKEW_MS)) return false;
  const expected = Buffer.from(realmSignature(key, request));
  const given = Buffer.from(signature);
  return given.length === expected.length && timingSafeEqual(given, expected);
}

export function bodyHash(body: string | Uint8Array): string {
  return createHash('sha256').update(body).digest('hex');
}
