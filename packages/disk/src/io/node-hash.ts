import { createHash, hash as cryptoHash, randomBytes } from 'node:crypto';

/** SHA-256 of the bytes: 32 bytes. */
export function sha256(bytes: Uint8Array): Uint8Array {
  return cryptoHash('sha256', bytes, 'buffer');
}

/** SHA-256 over several parts in order: 32 bytes. */
export function sha256Of(...parts: Uint8Array[]): Uint8Array {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** A hash that takes its bytes as they come. */
export interface IncrementalHash {
  update(bytes: Uint8Array): void;
  digest(): Uint8Array;
}

export function incrementalHash(kind: 'sha1' | 'sha256' | 'sha512'): IncrementalHash {
  const hash = createHash(kind);
  return {
    update(bytes) {
      hash.update(bytes);
    },
    digest: () => hash.digest(),
  };
}

/** Random bytes from the system's generator. */
export function randomSeed(lengthBytes: number): Uint8Array {
  return randomBytes(lengthBytes);
}
