import { DomainError } from './errors.ts';
import { conditionHolds, type EtagList } from './object-conditions.ts';

/** The ETag of a row that counts its changes. */
export function etagOfVersion(version: number): string {
  return `v${version}`;
}

/** Throws PRECONDITION_FAILED when If-Match was sent and names another version. */
export function requireVersion(ifMatch: EtagList | undefined, version: number): void {
  if (conditionHolds({ ifMatch }, etagOfVersion(version))) return;
  throw new DomainError(
    'PRECONDITION_FAILED',
    `the condition of the request does not hold: the ETag is ${etagOfVersion(version)}`,
    { hint: 'look at it as it is now, then decide again', subject: 'if-match' },
  );
}
