/** A part of a body: [from, to) in bytes. */
export interface ByteRange {
  readonly from: number;
  readonly to: number;
}

/**
 * Reads a Range header for a body of this length (RFC 9110, section 14.1.2): `bytes=0-99`, `bytes=100-`,
 * `bytes=-100`. Undefined for what is to be ignored: another unit, several ranges, nonsense.
 */
export function parseByteRange(
  header: string | undefined,
  lengthBytes: number,
): ByteRange | 'unsatisfiable' | undefined {
  const [, firstText, lastText] = /^\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*$/i.exec(header ?? '') ?? [];
  if (firstText === undefined || lastText === undefined) return undefined;
  if (firstText === '') {
    if (lastText === '') return undefined;
    const suffixBytes = Math.min(Number(lastText), lengthBytes);
    return suffixBytes === 0 ? 'unsatisfiable' : { from: lengthBytes - suffixBytes, to: lengthBytes };
  }
  const from = Number(firstText);
  const last = lastText === '' ? Number.POSITIVE_INFINITY : Number(lastText);
  if (last < from) return undefined;
  return from >= lengthBytes ? 'unsatisfiable' : { from, to: Math.min(last + 1, lengthBytes) };
}
