import { randomBytes } from 'node:crypto';

/** What an id is of: tenancy, compartment, user, token, grant, tag namespace, tag and so on. */
export type IdKind =
  | 'ten'
  | 'cmp'
  | 'usr'
  | 'tok'
  | 'grt'
  | 'tns'
  | 'tag'
  | 'bkt'
  | 'upl'
  | 'par'
  | 'img'
  | 'ics'
  | 'ins'
  | 'vol'
  | 'vat'
  | 'coh'
  | 'cap'
  | 'man'
  | 'seg'
  | 'job';

let lastMs = 0;
let sequence = 0;

/**
 * A new id: the kind, 12 hex digits of milliseconds, 4 of a counter within the millisecond, 16 random ones.
 * Ids of a kind sort by the time of their making.
 */
export function newId(kind: IdKind): string {
  const nowMs = Math.max(Date.now(), lastMs);
  sequence = nowMs === lastMs ? sequence + 1 : 0;
  lastMs = nowMs;
  return `${kind}-${nowMs.toString(16).padStart(12, '0')}${sequence.toString(16).padStart(4, '0')}${randomBytes(8).toString('hex')}`;
}
