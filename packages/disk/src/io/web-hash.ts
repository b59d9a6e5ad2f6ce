import { Sha256 } from '../bytes/sha256.ts';
import { ImageError } from '../errors.ts';
import type { IncrementalHash } from './node-hash.ts';

// What node-hash.ts gives, in a browser: its own SHA-256 answers only later.

export type { IncrementalHash };

export function sha256(bytes: Uint8Array): Uint8Array {
  return sha256Of(bytes);
}

export function sha256Of(...parts: Uint8Array[]): Uint8Array {
  const hash = new Sha256();
  for (const part of parts) hash.update(part);
  return hash.digest();
}

export function incrementalHash(kind: 'sha1' | 'sha256' | 'sha512'): IncrementalHash {
  if (kind === 'sha256') return new Sha256();
  throw new ImageError('IMAGE_UNSUPPORTED', `there is no ${kind} in a browser`, {
    structure: 'hash',
    hint: 'use Node, or the command',
  });
}

export function randomSeed(lengthBytes: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(lengthBytes));
}
