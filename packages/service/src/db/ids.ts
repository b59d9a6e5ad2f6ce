import { randomBytes } from 'node:crypto';

let lastMs = 0;
let sequence = 0;

/**
 * A new id: the kind, 12 hex digits of milliseconds, 4 of a counter within the millisecond, 16 random ones.
 * Ids of a kind sort by the time of their making.
 */
export function newId(kind: 'ten' | 'usr' | 'tok' | 'bkt' | 'upl' | 'img' | 'man' | 'seg' | 'job'): string {
  const nowMs = Math.max(Date.now(), lastMs);
  sequence = nowMs === lastMs ? sequence + 1 : 0;
  lastMs = nowMs;
  return `${kind}-${nowMs.toString(16).padStart(12, '0')}${sequence.toString(16).padStart(4, '0')}${randomBytes(8).toString('hex')}`;
}
