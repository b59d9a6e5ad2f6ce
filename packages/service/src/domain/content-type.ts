import { DomainError } from './errors.ts';

export const DEFAULT_CONTENT_TYPE = 'application/octet-stream';

/** Throws INVALID unless the text can be given back as a header's value: up to 255 characters of ASCII. */
export function requireContentType(contentType: string): void {
  if (/^[\x20-\x7e]{1,255}$/.test(contentType)) return;
  throw new DomainError('INVALID', 'a content type is 1 to 255 characters of ASCII');
}
