import { createHash, type Hash } from 'node:crypto';
import { crc32c, joinedCrc32c } from '@gantry/disk';

/** What clients send and ask for to know that bytes are theirs. */
export const checksumNames = ['md5', 'crc32c', 'sha256', 'sha384'] as const;
export type ChecksumName = (typeof checksumNames)[number];

/** By name, in base64 (a CRC as its four bytes, the highest first). */
export type Checksums = { readonly [Name in ChecksumName]?: string | undefined };

/** Lengths of the bytes that stand behind the base64. */
export const CHECKSUM_BYTES: Readonly<Record<ChecksumName, number>> = {
  md5: 16,
  crc32c: 4,
  sha256: 32,
  sha384: 48,
};

/** Computes checksums of bytes that pass by. */
export class ChecksumComputation {
  readonly #hashes: ReadonlyMap<ChecksumName, Hash>;
  readonly #withCrc: boolean;
  #crc = 0;

  constructor(names: readonly ChecksumName[]) {
    const hashed = names.filter((name) => name !== 'crc32c');
    this.#hashes = new Map(hashed.map((name) => [name, createHash(name)]));
    this.#withCrc = names.includes('crc32c');
  }

  update(chunk: Uint8Array): void {
    for (const hash of this.#hashes.values()) hash.update(chunk);
    if (this.#withCrc) this.#crc = crc32c(chunk, this.#crc);
  }

  /** Once, at the end. */
  digest(): Checksums {
    const hashes = [...this.#hashes].map(([name, hash]) => [name, hash.digest('base64')]);
    return { ...Object.fromEntries(hashes), ...(this.#withCrc && { crc32c: crcText(this.#crc) }) };
  }
}

/** Passes the chunks on, and counts them in. */
export async function* counted(
  chunks: AsyncIterable<Uint8Array>,
  computation: ChecksumComputation,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of chunks) {
    computation.update(chunk);
    yield chunk;
  }
}

/** A part with what is known of its bytes. */
export interface CheckedPart {
  readonly lengthBytes: number;
  readonly checksums: Checksums;
}

/**
 * The checksums of an object of these parts. The CRC is that of all its bytes. The others, which cannot be joined,
 * are the checksum of the parts' checksums, with the count of the parts behind a hyphen, as OCI and S3 give them.
 * What is not known of every part is not known of the object.
 */
export function joinedChecksums(parts: readonly CheckedPart[]): { whole: Checksums; ofParts: Checksums } {
  const ofParts: Partial<Record<ChecksumName, string>> = {};
  for (const name of checksumNames) {
    if (name === 'crc32c') continue;
    const each = parts.map(({ checksums }) => checksums[name]);
    if (!each.every((checksum) => checksum !== undefined)) continue;
    const hash = createHash(name);
    for (const checksum of each) hash.update(Buffer.from(checksum, 'base64'));
    ofParts[name] = `${hash.digest('base64')}-${parts.length}`;
  }
  const crcs = parts.map(({ checksums: { crc32c: crc }, lengthBytes }) => ({ crc, lengthBytes }));
  if (!crcs.every((part) => part.crc !== undefined)) return { whole: {}, ofParts };
  const joined = crcs.reduce(
    (crc, part) => joinedCrc32c(crc, Buffer.from(part.crc ?? '', 'base64').readUInt32BE(), part.lengthBytes),
    0,
  );
  return { whole: { crc32c: crcText(joined) }, ofParts };
}

function crcText(crc: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc);
  return bytes.toString('base64');
}
