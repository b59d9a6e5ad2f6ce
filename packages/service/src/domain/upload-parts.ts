import type { UploadPartRow } from '../db/schema.ts';
import type { Checksums } from './checksums.ts';
import { DomainError } from './errors.ts';

export interface UploadPart {
  readonly partNumber: number;
  readonly lengthBytes: number;
  /** Without quotes. */
  readonly etag: string;
  /** Those that were sent or asked for. */
  readonly checksums: Checksums;
}

/** A part as its sender knows it. */
export interface ListedPart {
  readonly partNumber: number;
  readonly etag: string;
}

export interface ChosenParts {
  readonly chosen: readonly UploadPartRow[];
  readonly dropped: readonly UploadPartRow[];
}

/**
 * The parts that are listed, and the others. Throws INVALID unless the list is ascending and not empty,
 * UPLOAD_INCOMPLETE when a part is not there or is another one.
 */
export function chooseParts(
  parts: readonly UploadPartRow[],
  listed: readonly ListedPart[] | 'all',
): ChosenParts {
  const wanted =
    listed === 'all' ? parts.map(({ part_number, etag }) => ({ partNumber: part_number, etag })) : listed;
  requireAscending(wanted);
  const byNumber = new Map(parts.map((part) => [part.part_number, part]));
  const chosen = wanted.map(({ partNumber, etag }) => {
    const part = byNumber.get(partNumber);
    byNumber.delete(partNumber);
    if (part?.etag === etag) return part;
    const what = part === undefined ? 'was not received' : `has the ETag ${part.etag}, not ${etag}`;
    throw new DomainError('UPLOAD_INCOMPLETE', `part ${partNumber} ${what}`, {
      hint: 'show the upload to see its parts, send what is missing, then complete it',
      subject: 'part',
    });
  });
  return { chosen, dropped: [...byNumber.values()] };
}

function requireAscending(listed: readonly ListedPart[]): void {
  if (listed.length === 0) throw new DomainError('INVALID', 'an object has at least one part');
  for (const [index, part] of listed.entries()) {
    const before = listed[index - 1]?.partNumber ?? 0;
    if (part.partNumber > before) continue;
    throw new DomainError('INVALID', `part ${part.partNumber} is listed after part ${before}`, {
      hint: 'list each part once, in ascending order',
      subject: 'part',
    });
  }
}
