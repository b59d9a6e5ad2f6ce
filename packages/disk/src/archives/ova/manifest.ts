import { hexText, utf8Bytes, utf8Text } from '../../bytes/fields.ts';
import { MIB } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';

/** A line of 200 bytes for each of the members that an archive may have is far below. */
export const MANIFEST_BYTES_MAX: number = MIB;

export type ManifestHash = 'sha1' | 'sha256' | 'sha512';

/** What a manifest says of a file. */
export interface ManifestEntry {
  readonly name: string;
  readonly kind: ManifestHash;
  /** Lower-case hex. */
  readonly digest: string;
}

const digestLengths: Readonly<Record<ManifestHash, number>> = { sha1: 40, sha256: 64, sha512: 128 };
const line = /^(SHA1|SHA256|SHA512)\s*\(([^)]{1,1024})\)\s*=\s*([0-9a-f]+)$/i;

/** Reads the lines of a manifest: `SHA256(name)= digest`. Throws IMAGE_MALFORMED. */
export function parseManifest(bytes: Uint8Array, name: string): ManifestEntry[] {
  const entries = new Map<string, ManifestEntry>();
  for (const [index, text] of utf8Text(bytes).split('\n').entries()) {
    if (text.trim() === '') continue;
    const [, kind = '', fileName = '', digest = ''] = line.exec(text.trim()) ?? [];
    const known = kind.toLowerCase() as ManifestHash;
    if (digestLengths[known] !== digest.length)
      throw malformed(name, `line ${index + 1} is no digest of a file`);
    if (entries.has(fileName))
      throw malformed(name, `line ${index + 1} names ${JSON.stringify(fileName)} again`);
    entries.set(fileName, { name: fileName, kind: known, digest: digest.toLowerCase() });
  }
  return [...entries.values()];
}

/** The line for a file with this SHA-256, as VMware's tools write it. */
export function manifestLine(name: string, hash: Uint8Array): Uint8Array {
  return utf8Bytes(`SHA256(${name})= ${hexText(hash)}\n`);
}

function malformed(name: string, what: string): ImageError {
  return new ImageError('IMAGE_MALFORMED', `the manifest ${name} is malformed: ${what}`, {
    structure: 'OVA manifest',
  });
}
