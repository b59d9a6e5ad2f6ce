import { DomainError } from './errors.ts';

/** ETags without quotes, or `*`: whatever is there. */
export type EtagList = '*' | readonly string[];

/** What must hold of the object that a key names before it is replaced or deleted (RFC 9110, section 13.1). */
export interface WriteCondition {
  /** The object is there, with one of these. */
  readonly ifMatch?: EtagList | undefined;
  /** The object is not there, or with none of these. */
  readonly ifNoneMatch?: EtagList | undefined;
}

/** Whether the condition holds for an object with this ETag; undefined for no object. */
export function conditionHolds(condition: WriteCondition, etag: string | undefined): boolean {
  const { ifMatch, ifNoneMatch } = condition;
  if (ifMatch !== undefined && !matches(ifMatch, etag)) return false;
  return ifNoneMatch === undefined || !matches(ifNoneMatch, etag);
}

/** Throws PRECONDITION_FAILED unless the condition holds. */
export function requireCondition(condition: WriteCondition, etag: string | undefined): void {
  if (conditionHolds(condition, etag)) return;
  const state = etag === undefined ? 'there is no such object' : `the object has the ETag ${etag}`;
  const subject = conditionHolds({ ifMatch: condition.ifMatch }, etag) ? 'if-none-match' : 'if-match';
  throw new DomainError('PRECONDITION_FAILED', `the condition of the request does not hold: ${state}`, {
    hint: 'look at the object as it is now, then decide again',
    subject,
  });
}

function matches(list: EtagList, etag: string | undefined): boolean {
  return etag !== undefined && (list === '*' || list.includes(etag));
}
