import type { IncomingHttpHeaders } from 'node:http';
import { DomainError } from '../../domain/errors.ts';
import { conditionHolds, type EtagList, type WriteCondition } from '../../domain/object-conditions.ts';

/** The version of what a request asks for. */
export interface Validators {
  /** Without quotes; strong. */
  readonly etag: string;
  readonly lastModifiedMs: number;
}

/** If-Match and If-None-Match of a request that changes something (RFC 9110, section 13.1). */
export function writeCondition(headers: IncomingHttpHeaders): WriteCondition {
  return {
    ifMatch: strongEtags(headers['if-match']),
    ifNoneMatch: anyEtags(headers['if-none-match']),
  };
}

/**
 * Evaluates a read's conditions in the order of RFC 9110, section 13.2.2: `read` goes on, `not-modified` is a 304.
 * Throws PRECONDITION_FAILED.
 */
export function readCondition(headers: IncomingHttpHeaders, version: Validators): 'read' | 'not-modified' {
  const { etag } = version;
  const modifiedSince = (date: string | undefined) => isModifiedSince(version.lastModifiedMs, date);
  const ifMatch = strongEtags(headers['if-match']);
  const failed =
    ifMatch === undefined
      ? modifiedSince(headers['if-unmodified-since'])
      : !conditionHolds({ ifMatch }, etag);
  if (failed) {
    throw new DomainError(
      'PRECONDITION_FAILED',
      `the condition of the request does not hold: the ETag is ${etag}`,
    );
  }
  const ifNoneMatch = anyEtags(headers['if-none-match']);
  const same =
    ifNoneMatch === undefined
      ? modifiedSince(headers['if-modified-since']) === false
      : !conditionHolds({ ifNoneMatch }, etag);
  return same ? 'not-modified' : 'read';
}

/** Whether a Range header counts: without If-Range, or when that names this version (section 13.1.5). */
export function rangeApplies(headers: IncomingHttpHeaders, version: Validators): boolean {
  const ifRange = headers['if-range'];
  if (typeof ifRange !== 'string') return true;
  if (ifRange === version.etag || ifRange.startsWith('"'))
    return ifRange.replaceAll('"', '') === version.etag;
  return Date.parse(ifRange) === wholeSeconds(version.lastModifiedMs);
}

/** Undefined when there is no date, or none that is understood. */
function isModifiedSince(lastModifiedMs: number, date: string | undefined): boolean | undefined {
  const sinceMs = Date.parse(date ?? '');
  return Number.isNaN(sinceMs) ? undefined : wholeSeconds(lastModifiedMs) > sinceMs;
}

/** A date in a header has no milliseconds. */
function wholeSeconds(timeMs: number): number {
  return timeMs - (timeMs % 1000);
}

/** If-Match compares strongly: a weak ETag matches nothing (section 8.8.3.2). */
function strongEtags(header: string | undefined): EtagList | undefined {
  return parseEtags(header, (isWeak) => !isWeak);
}

/** If-None-Match compares weakly: weak or strong, the text decides. */
function anyEtags(header: string | undefined): EtagList | undefined {
  return parseEtags(header, () => true);
}

/** Quotes are expected; clients that leave them out are understood. */
function parseEtags(header: string | undefined, counts: (isWeak: boolean) => boolean): EtagList | undefined {
  if (header === undefined) return undefined;
  if (header.trim() === '*') return '*';
  const etags: string[] = [];
  for (const [, weak, quoted, bare] of header.matchAll(/(W\/)?"([^"]*)"|([^\s,"]+)/g)) {
    if (counts(weak !== undefined)) etags.push(quoted ?? bare ?? '');
  }
  return etags;
}
