import { randomBytes } from 'node:crypto';

const SHAPE = /^[0-9a-f]{32}$/;

/** A new name for bytes in an object store: 128 random bits, so that no two processes ever agree on one. */
export function newStoredName(): string {
  return randomBytes(16).toString('hex');
}

export function isStoredName(name: string): boolean {
  return SHAPE.test(name);
}

/** Throws RangeError: a name of another shape is a mistake of ours, and never becomes a path. */
export function requireStoredName(name: string): void {
  if (!isStoredName(name)) throw new RangeError(`${JSON.stringify(name)} is not a stored name`);
}
