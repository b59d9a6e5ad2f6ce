import { latin1Text } from '../../bytes/fields.ts';
import { toSafeInteger } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { memberName } from './header.ts';

const STRUCTURE = 'PAX record';

/** What an extended header says about the member that follows it. */
export interface PaxValues {
  readonly name?: string;
  readonly lengthBytes?: number;
  /** The member's data is a GNU sparse map and what it names. */
  readonly isSparse?: boolean;
}

/**
 * Reads the records of an extended header: `LENGTH KEY=VALUE\n`, the length counting all of it. Throws
 * IMAGE_MALFORMED for records that do not fill it exactly.
 */
export function decodePax(bytes: Uint8Array, offsetBytes: number): PaxValues {
  let values: PaxValues = {};
  const refuse = (at: number, why: string) =>
    new ImageError('IMAGE_MALFORMED', `a PAX record ${why}`, {
      structure: STRUCTURE,
      offsetBytes: offsetBytes + at,
    });
  for (let at = 0; at < bytes.length; ) {
    const digits = /^([1-9]\d{0,5}) /.exec(latin1Text(bytes.subarray(at, at + 7)))?.[1];
    if (digits === undefined) throw refuse(at, 'does not begin with its length');
    const end = at + Number(digits);
    const equals = bytes.indexOf(0x3d, at);
    if (end > bytes.length || bytes[end - 1] !== 0x0a || equals < 0 || equals >= end) {
      throw refuse(at, 'is not as long as it says');
    }
    const key = latin1Text(bytes.subarray(at + digits.length + 1, equals));
    const value = bytes.subarray(equals + 1, end - 1);
    if (value.includes(0)) throw refuse(at, 'holds a NUL');
    if (key === 'path') values = { ...values, name: memberName(value) };
    else if (key === 'size') values = { ...values, lengthBytes: decimal(value, offsetBytes + at) };
    else if (key.startsWith('GNU.sparse.')) values = { ...values, isSparse: true };
    at = end;
  }
  return values;
}

function decimal(value: Uint8Array, offsetBytes: number): number {
  const place = { structure: `${STRUCTURE} size`, offsetBytes };
  const text = latin1Text(value);
  if (/^\d{1,20}$/.test(text)) return toSafeInteger(BigInt(text), place);
  throw new ImageError('IMAGE_MALFORMED', 'a PAX record gives a size that is no number', place);
}
