import { usageError } from '../errors/command-error.ts';

/** A path of the API from its segments. */
export function apiPath(...segments: readonly string[]): string {
  return segments.map((segment) => `/${encodedSegment(segment)}`).join('');
}

/** An object's place: `BUCKET/KEY`. */
export interface Place {
  readonly bucket: string;
  readonly key: string;
}

export function objectPath({ bucket, key }: Place): string {
  return `${apiPath('buckets', bucket, 'objects')}${apiPath(...key.split('/'))}`;
}

export function placeText({ bucket, key }: Place): string {
  return `${bucket}/${key}`;
}

/** Throws USAGE for what is not `BUCKET/KEY`. */
export function parsePlace(text: string): Place {
  const at = text.indexOf('/');
  if (at < 1 || at === text.length - 1) {
    throw usageError(`${JSON.stringify(text)} is not BUCKET/KEY`);
  }
  return { bucket: text.slice(0, at), key: text.slice(at + 1) };
}

function encodedSegment(segment: string): string {
  // An address with such a segment means another one (WHATWG URL, "single-dot path segment").
  if (segment === '.' || segment === '..') {
    throw usageError(`a key with the part ${JSON.stringify(segment)} cannot stand in an address`);
  }
  return encodeURIComponent(segment);
}
