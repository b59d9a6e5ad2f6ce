import { DomainError } from './errors.ts';

/** As S3, OCI and OBS bound it. */
const LONGEST_KEY_BYTES = 1024;

/**
 * Throws INVALID unless the text can be an object's key: 1 to 1024 bytes of UTF-8 without control characters,
 * which no dialect could show in its listings.
 */
export function requireObjectKey(key: string): void {
  const lengthBytes = Buffer.byteLength(key);
  if (lengthBytes === 0 || lengthBytes > LONGEST_KEY_BYTES) {
    throw new DomainError(
      'INVALID',
      `an object key has 1 to ${LONGEST_KEY_BYTES} bytes, this one ${lengthBytes}`,
    );
  }
  if (!key.isWellFormed() || /\p{Cc}/u.test(key)) {
    throw new DomainError('INVALID', 'an object key is Unicode text without control characters');
  }
}
